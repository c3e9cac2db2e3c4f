/** What the server and the terminal chat need of a model: an interface that a test fills with twenty lines, and the real model's side of it. */
import { type ChatOptions, type ChatPart, chat } from "../generate/chat.js";
import type { Model } from "../generate/load-model.js";
import type { ThinkingMarkers } from "../generate/thinking.js";
import type { ChatMessage } from "../text/index.js";

/** Something that answers conversations. */
export interface ChatSource {
  readonly name: string;
  /** Longest prompt and answer together, in tokens. */
  readonly maxTokens: number;
  /** Conversations that are answered at a time; more wait for their turn. */
  readonly slots: number;
  /** How thoughts of earlier turns are written back into the prompt; absent: the model does not think. */
  readonly thinking: Pick<ThinkingMarkers, "open" | "close" | "trimNewlines"> | undefined;
  /** Streams the answer; leaving the loop or `options.signal` stops it. May throw at once or with the first part. */
  chat(messages: readonly ChatMessage[], options: ChatOptions): AsyncIterable<ChatPart>;
}

/** A loaded model as a source. The model stays the caller's. */
export function modelSource(model: Model): ChatSource {
  return {
    name: model.name,
    maxTokens: model.engine.maxTokens,
    slots: model.engine.pool.slots,
    thinking: model.thinking,
    chat: (messages, options) => chat(model, messages, options),
  };
}
