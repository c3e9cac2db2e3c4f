/** A chat source without a model: it says what it is told to, and can be held in the middle of an answer. */
import type { ChatOptions, ChatPart } from "../src/generate/chat.js";
import type { ChatSource } from "../src/serve/chat-source.js";
import type { ChatMessage } from "../src/text/index.js";

export interface Script {
  readonly reasoning?: readonly string[];
  readonly answer?: readonly string[];
  /** The answer stops after its first part until the signal fires or `release` is called. */
  readonly hold?: boolean;
  /** Thrown instead of the first part. */
  readonly failure?: Error;
  /** Thrown after the answer's parts. */
  readonly lateFailure?: Error;
  readonly slots?: number;
}

export interface ScriptedSource extends ChatSource {
  readonly calls: { readonly messages: readonly ChatMessage[]; readonly options: ChatOptions }[];
  /** Answers under way. */
  readonly active: number;
  /** Lets all held answers go on, now and later. */
  release(): void;
  /** Resolves when the condition holds; looked at after each change of `active`. */
  until(condition: () => boolean): Promise<void>;
}

export function scriptedSource(script: Script = {}): ScriptedSource {
  const { reasoning = [], answer = ["Hello", " there"], hold = false, failure, lateFailure, slots = 2 } = script;
  const calls: ScriptedSource["calls"] = [];
  const watchers = new Set<() => void>();
  let active = 0;
  let release: () => void = () => undefined;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const change = (by: number) => {
    active += by;
    for (const look of watchers) look();
  };

  async function* chat(options: ChatOptions): AsyncGenerator<ChatPart> {
    change(1);
    try {
      if (failure) throw failure;
      for (const text of reasoning) yield { kind: "reasoning", text };
      for (const [i, text] of answer.entries()) {
        if (hold && i === 1) await Promise.race([released, aborted(options.signal)]);
        options.signal?.throwIfAborted();
        yield { kind: "answer", text };
      }
      if (lateFailure) throw lateFailure;
      const tokens = reasoning.length + answer.length;
      const usage = { promptTokens: 7, cachedTokens: 3, tokens, reasoningTokens: reasoning.length };
      const timings = {
        firstTokenMs: 12,
        prefillMs: 10,
        decodeMs: 20,
        prefillTokensPerSecond: 700,
        tokensPerSecond: 50,
      };
      yield { kind: "done", text: "", finishReason: "stop", stopped: undefined, usage, timings };
    } finally {
      change(-1);
    }
  }

  return {
    name: "scripted",
    maxTokens: 512,
    slots,
    thinking: { open: "<think>", close: "</think>", trimNewlines: false },
    calls,
    get active() {
      return active;
    },
    release: () => release(),
    until: (condition) =>
      new Promise((resolve) => {
        const look = () => {
          if (!condition()) return;
          watchers.delete(look);
          resolve();
        };
        watchers.add(look);
        look();
      }),
    chat(messages, options) {
      calls.push({ messages, options });
      return chat(options);
    },
  };
}

function aborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    if (signal?.aborted) reject(signal.reason);
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
