/**
 * Chat templates in Jinja, as `tokenizer_config.json` carries them.
 *
 * Rendered by `@huggingface/jinja` with trim_blocks and lstrip_blocks on and the variables that transformers sets:
 * messages, tools (none when absent), add_generation_prompt, enable_thinking (only when chosen), bos_token, eos_token.
 *
 * Our choice  content may always be text or parts. Which of the two the template reads is found once, by rendering a
 *             probe both ways; the other form is converted.
 */
import { Template } from "@huggingface/jinja";
import {
  type ChatMessage,
  type ChatTemplate,
  ChatTemplateError,
  checkMessages,
  isRecord,
  messageText,
  type RenderOptions,
} from "./chat-messages.js";

/** Options of {@link createChatTemplate}. */
export interface ChatTemplateOptions {
  /** The Jinja text. */
  readonly template: string;
  /** Given to the template as bos_token. */
  readonly bosToken?: string;
  /** Given to the template as eos_token. */
  readonly eosToken?: string;
  /** What the template expects as content. Default: found by a probe. */
  readonly contentFormat?: "text" | "parts";
  /** Further variables for the template. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/**
 * Reads a template.
 *
 * @throws {ChatTemplateError} the template does not parse.
 */
export function createChatTemplate(options: ChatTemplateOptions): ChatTemplate {
  const { template, bosToken, eosToken, variables } = options;
  let parsed: Template;
  try {
    parsed = new Template(template);
  } catch (cause) {
    throw new ChatTemplateError(`chat template: does not parse: ${messageOf(cause)}.`, { cause });
  }
  const fixed = {
    ...variables,
    ...(bosToken === undefined ? {} : { bos_token: bosToken }),
    ...(eosToken === undefined ? {} : { eos_token: eosToken }),
  };
  const contentFormat = options.contentFormat ?? probeContentFormat(parsed, fixed);

  return {
    render(messages, { addGenerationPrompt = false, enableThinking, tools }: RenderOptions = {}) {
      checkMessages(messages);
      try {
        return parsed.render({
          ...fixed,
          messages: messages.map((message, index) => convert(message, index, contentFormat)),
          tools: tools === undefined || tools.length === 0 ? null : tools,
          add_generation_prompt: addGenerationPrompt,
          ...(enableThinking === undefined ? {} : { enable_thinking: enableThinking }),
        });
      } catch (cause) {
        if (cause instanceof ChatTemplateError) throw cause;
        throw new ChatTemplateError(`chat template: refuses this conversation: ${messageOf(cause)}.`, { cause });
      }
    },
  };
}

/**
 * The template of a tokenizer_config.json.
 *
 * @param name which of several named templates; default "default".
 * @returns undefined when the file has none.
 * @throws {ChatTemplateError} `chat_template` is neither text nor a list of named templates, or has no such name.
 */
export function chatTemplateFromConfig(tokenizerConfig: unknown, name = "default"): ChatTemplate | undefined {
  if (!isRecord(tokenizerConfig)) throw new ChatTemplateError("tokenizer_config.json: an object expected.");
  const { chat_template: entry } = tokenizerConfig;
  if (entry === undefined || entry === null) return undefined;
  let template: unknown = entry;
  if (Array.isArray(entry)) {
    const named = entry.filter(isRecord);
    template = named.find((each) => each.name === name)?.template;
    if (template === undefined) {
      const names = named.map((each) => String(each.name)).join(", ");
      throw new ChatTemplateError(`tokenizer_config.json: chat_template has no "${name}"; it has ${names || "none"}.`);
    }
  }
  if (typeof template !== "string") {
    throw new ChatTemplateError("tokenizer_config.json: chat_template expected text or a list of named templates.");
  }
  const bosToken = tokenText(tokenizerConfig.bos_token);
  const eosToken = tokenText(tokenizerConfig.eos_token);
  return createChatTemplate({
    template,
    ...(bosToken === undefined ? {} : { bosToken }),
    ...(eosToken === undefined ? {} : { eosToken }),
  });
}

/** A token in tokenizer_config.json: text, or an object with its `content`. */
function tokenText(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  return isRecord(token) && typeof token.content === "string" ? token.content : undefined;
}

function convert(message: ChatMessage, index: number, format: "text" | "parts"): Record<string, unknown> {
  const { content } = message;
  if (format === "parts") {
    return typeof content === "string" ? { ...message, content: [{ type: "text", text: content }] } : { ...message };
  }
  // Templates for text read `content` of every message; null or nothing (a message of tool calls) counts as "".
  return { ...message, content: messageText(message, index) };
}

const probeText = "fulgur-probe";

function probeContentFormat(template: Template, fixed: Record<string, unknown>): "text" | "parts" {
  const shows = (content: unknown): boolean => {
    try {
      const messages = [{ role: "user", content }];
      return template.render({ ...fixed, messages, tools: null, add_generation_prompt: true }).includes(probeText);
    } catch {
      return false; // a template may well refuse the form that it does not read
    }
  };
  return !shows(probeText) && shows([{ type: "text", text: probeText }]) ? "parts" : "text";
}

function messageOf(cause: unknown): string {
  return (cause instanceof Error ? cause.message : String(cause)).replace(/\.$/, "");
}
