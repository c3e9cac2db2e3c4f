/**
 * The chat format of MiniMax-M1, built in.
 *
 * Two wordings exist. "release": the template of the published checkpoint. "vllm": the template that vLLM ships (and
 * llama.cpp, whose author reports that it works better): another name for the assistant, a default system text,
 * quoted keys in the instruction for tools, texts trimmed, tool results without the tool's name.
 *
 * Departs  "release" reads the first part of a user's message and drops the rest; here all text parts are joined.
 *          It also ignores `tool_calls` of a message; here they are written as the model writes them.
 *          "vllm" drops system messages after the first, here an error, and the text beside `tool_calls`, here kept.
 * Thinking the template inserts no `<think>`; reasoning in earlier turns stays if it is in the content.
 */
import {
  type ChatMessage,
  type ChatTemplate,
  ChatTemplateError,
  type ContentPart,
  checkMessages,
  fault,
  isRecord,
  messageText,
  type RenderOptions,
} from "./chat-messages.js";
import { pythonJson } from "./python-json.js";
import { formatToolCalls, type ToolCall } from "./tool-calls.js";

/** Options of {@link createMinimaxM1ChatTemplate}. */
export interface MinimaxM1ChatOptions {
  /** Whose wording. Default "release". */
  readonly wording?: "release" | "vllm";
}

/** Tokens of the format that other code needs. */
export const minimaxM1Tokens = {
  document: "<begin_of_document>",
  bos: "<beginning_of_sentence>",
  eos: "<end_of_sentence>",
} as const;

const vllmSystemText = "You are a helpful assistant created by Minimax based on MiniMax-M1 model.";

/** The chat template of MiniMax-M1. `enableThinking` has no effect: the model decides by itself. */
export function createMinimaxM1ChatTemplate({ wording = "release" }: MinimaxM1ChatOptions = {}): ChatTemplate {
  const vllm = wording === "vllm";
  const assistant = vllm ? "MiniMax AI" : "assistant";
  const tidy = (text: string): string => (vllm ? text.trim() : text);

  return {
    render(messages, { addGenerationPrompt = false, tools = [] }: RenderOptions = {}) {
      checkMessages(messages);
      let prompt: string = minimaxM1Tokens.document;
      const system = systemText(messages, vllm);
      if (system !== undefined) prompt += turn(`system ai_setting=${assistant}`, system);
      if (tools.length > 0) prompt += turn("system tool_setting=tools", toolSetting(tools, vllm));
      messages.forEach((message, index) => {
        switch (message.role) {
          case "system":
            return;
          case "user":
            prompt += turn("user name=user", messageText(message, index, tidy));
            return;
          case "assistant":
            prompt += turn(`ai name=${assistant}`, assistantText(message, index, tidy));
            return;
          case "tool":
            prompt += turn("tool name=tools", toolResults(messages, index, vllm));
            return;
          default:
            throw fault(`messages[${index}].role`, "system, user, assistant or tool", message.role);
        }
      });
      return addGenerationPrompt ? `${prompt}${minimaxM1Tokens.bos}ai name=${assistant}\n` : prompt;
    },
  };
}

function turn(header: string, text: string): string {
  return `${minimaxM1Tokens.bos}${header}\n${text}${minimaxM1Tokens.eos}\n`;
}

function systemText(messages: readonly ChatMessage[], vllm: boolean): string | undefined {
  const texts: string[] = [];
  messages.forEach((message, index) => {
    if (message.role !== "system") return;
    if (vllm && index > 0) {
      throw new ChatTemplateError(`chat: messages[${index}]: the "vllm" wording takes one system message, the first.`);
    }
    texts.push(messageText(message, index));
  });
  if (!vllm) return texts.length === 0 ? undefined : texts.join("");
  const text = texts[0] === undefined ? vllmSystemText : texts[0].trim();
  return text === "" ? undefined : text;
}

function toolSetting(tools: readonly unknown[], vllm: boolean): string {
  // The release's definitions are flat; OpenAI's wrap them: {"type": "function", "function": {…}}.
  const flat = (tool: unknown): unknown => (!vllm && isRecord(tool) && isRecord(tool.function) ? tool.function : tool);
  const example = vllm
    ? '{"name": <tool-name>, "arguments": <args-json-object>}'
    : "{name: <tool-name-1>, arguments: <args-json-object-1>}"; // without quotes: so the release's template renders
  return [
    "You are provided with these tools:",
    "<tools>",
    ...tools.map((tool) => pythonJson(flat(tool))),
    "</tools>",
    "",
    "If you need to call tools, please respond with <tool_calls></tool_calls> XML tags, and provide tool-name and " +
      "json-object of arguments, following the format below:",
    "<tool_calls>",
    example,
    "...",
    "</tool_calls>",
  ].join("\n");
}

function assistantText(message: ChatMessage, index: number, tidy: (text: string) => string): string {
  const { content } = message;
  // Other parts (images that the model made elsewhere) are left out, as the release does.
  const texts = typeof content === "string" ? [content] : (content ?? []).filter(isText).map((part) => part.text ?? "");
  const text = texts.map(tidy).join("");
  if (!Array.isArray(message.tool_calls) || message.tool_calls.length === 0) return text;
  const calls = message.tool_calls.map((call: unknown, at) => readCall(call, `messages[${index}].tool_calls[${at}]`));
  const block = formatToolCalls(calls);
  return text === "" ? block : `${text}\n${block}`;
}

function isText(part: ContentPart): boolean {
  return part.type === "text";
}

/** A call in OpenAI's form ({function: {name, arguments}}, arguments as JSON text or object) or flat. */
function readCall(call: unknown, where: string): ToolCall {
  if (!isRecord(call)) throw fault(where, "an object", call);
  const inner = isRecord(call.function) ? call.function : call;
  if (typeof inner.name !== "string") throw fault(`${where}.name`, "text", inner.name);
  let args: unknown = inner.arguments;
  if (typeof args === "string") {
    try {
      args = JSON.parse(args);
    } catch {
      throw fault(`${where}.arguments`, "an object in JSON", args);
    }
  }
  if (!isRecord(args)) throw fault(`${where}.arguments`, "an object", args);
  return { name: inner.name, arguments: args };
}

function toolResults(messages: readonly ChatMessage[], index: number, vllm: boolean): string {
  const message = messages[index];
  if (message === undefined) throw new ChatTemplateError(`internal: no message ${index}`);
  const { content } = message;
  const parts: readonly ContentPart[] =
    typeof content === "string" ? [{ type: "text", text: content }] : (content ?? []);
  return parts
    .map((part, at) => {
      if (part.type !== "text") throw fault(`messages[${index}].content[${at}].type`, '"text"', part.type);
      const result = `tool result: ${part.text ?? ""}\n\n`;
      return vllm ? result : `tool name: ${part.name ?? nameOfTool(messages, index)}\n${result}`;
    })
    .join("");
}

/** The tool's name where the part has none: the message's own, or that of the call with its `tool_call_id`. */
function nameOfTool(messages: readonly ChatMessage[], index: number): string {
  const message = messages[index];
  if (typeof message?.name === "string") return message.name;
  const id = message?.tool_call_id;
  for (const { tool_calls: calls } of typeof id === "string" ? messages.slice(0, index).reverse() : []) {
    const at = Array.isArray(calls) ? calls.findIndex((call: unknown) => isRecord(call) && call.id === id) : -1;
    if (Array.isArray(calls) && at >= 0) return readCall(calls[at], `the call ${id}`).name;
  }
  throw fault(`messages[${index}].name`, "the tool's name (or a tool_call_id of an earlier call)", message?.name);
}
