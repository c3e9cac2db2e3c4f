/**
 * Chat messages: their type and their checks.
 *
 * The keys are those of the OpenAI interface and of the chat templates (`tool_calls`, `reasoning_content`), because
 * messages pass through to the template as they are.
 */

/** One part of a message's content. Only parts of type "text" carry text. */
export interface ContentPart {
  readonly type: string;
  readonly text?: string;
  /** MiniMax-M1: the tool whose result a part of a `tool` message is. */
  readonly name?: string;
  readonly [key: string]: unknown;
}

/** A message of a conversation. */
export interface ChatMessage {
  /** Usually system, user, assistant or tool. */
  readonly role: string;
  /** Text, or parts of it; may be absent only where the message has `tool_calls`. */
  readonly content?: string | readonly ContentPart[] | null;
  readonly [key: string]: unknown;
}

/** Options of {@link ChatTemplate.render}. */
export interface RenderOptions {
  /** End with the header of the assistant's turn. Default false. */
  readonly addGenerationPrompt?: boolean;
  /** For models with a switch: whether the model shall think. Absent: the template's default. */
  readonly enableThinking?: boolean;
  /** Definitions of tools that the model may call. */
  readonly tools?: readonly unknown[];
}

/** Turns a conversation into the prompt that a model was trained on. */
export interface ChatTemplate {
  /** @throws {ChatTemplateError} a message is malformed, or the template refuses the conversation. */
  render(messages: readonly ChatMessage[], options?: RenderOptions): string;
}

/** A conversation that cannot be rendered, or a template that cannot be read. */
export class ChatTemplateError extends Error {
  override readonly name = "ChatTemplateError";
}

/**
 * Checks messages that came from outside.
 *
 * @throws {ChatTemplateError} naming the first fault, for example `messages[1].role expected text, got nothing`.
 */
export function checkMessages(messages: unknown): asserts messages is readonly ChatMessage[] {
  if (!Array.isArray(messages)) throw fault("messages", "a list", messages);
  messages.forEach((message: unknown, index) => {
    const where = `messages[${index}]`;
    if (!isRecord(message)) throw fault(where, "an object", message);
    const { role, content } = message;
    if (typeof role !== "string" || role === "") throw fault(`${where}.role`, "text such as user", role);
    if (typeof content === "string") return;
    if (content === undefined || content === null) {
      if (Array.isArray(message.tool_calls)) return;
      throw fault(`${where}.content`, "text or a list of parts", content);
    }
    if (!Array.isArray(content)) throw fault(`${where}.content`, "text or a list of parts", content);
    content.forEach((part: unknown, partIndex) => {
      const place = `${where}.content[${partIndex}]`;
      if (!isRecord(part)) throw fault(place, 'a part such as {"type": "text", "text": …}', part);
      if (typeof part.type !== "string") throw fault(`${place}.type`, "text", part.type);
      if (part.type === "text" && typeof part.text !== "string") throw fault(`${place}.text`, "text", part.text);
    });
  });
}

/**
 * A message's text: the content itself, or its text parts joined; `tidy` is applied to each.
 *
 * @throws {ChatTemplateError} a part is not text.
 */
export function messageText(message: ChatMessage, index: number, tidy = (text: string): string => text): string {
  const { content } = message;
  if (content === undefined || content === null) return "";
  if (typeof content === "string") return tidy(content);
  return content
    .map((part, partIndex) => {
      if (part.type === "text") return tidy(part.text ?? "");
      throw fault(
        `messages[${index}].content[${partIndex}].type`,
        '"text" (this template reads text alone)',
        part.type,
      );
    })
    .join("");
}

/** The error for a fault at `where`. */
export function fault(where: string, expected: string, got: unknown): ChatTemplateError {
  const shown = got === undefined ? "nothing" : (JSON.stringify(got)?.slice(0, 80) ?? typeof got);
  return new ChatTemplateError(`chat: ${where} expected ${expected}, got ${shown}.`);
}

/** Whether a value is an object that is no list. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
