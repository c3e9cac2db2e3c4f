/**
 * Text in, text out: `chat` for messages, `complete` for plain text. Both stream parts as they are generated.
 */
import { type ChatMessage, createDetokenizer, createStopMatcher, createThinkParser } from "../text/index.js";
import type { Model } from "./load-model.js";
import type { FinishReason, RepetitionStop, SamplingOptions, TokenRequest } from "./request.js";

/** Sampling fields that are absent come from the model folder; the seed is drawn. */
type OptionalSampling = { readonly [K in keyof SamplingOptions]?: SamplingOptions[K] | undefined };

export interface GenerateOptions extends OptionalSampling {
  /** New tokens at most, thinking included. Default: the model's own, else what the context holds. */
  readonly maxTokens?: number | undefined;
  /**
   * Thinking tokens at most; then the thinking is closed with the model's own closing text and the answer begins. The
   * report's budgets are 40K and 80K (spelt 40·1024 and 80·1024 here). Default: no limit.
   */
  readonly thinkingBudget?: number | undefined;
  /** Texts that end the answer; they are not part of it. */
  readonly stop?: readonly string[] | undefined;
  /** Default: 3,000 tokens in a row with probability above 0.99 each (report §3.2). */
  readonly repetitionStop?: Partial<RepetitionStop> | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ChatOptions extends GenerateOptions {
  /** Ask the template for thinking or for a direct answer. Default: the model decides. */
  readonly enableThinking?: boolean | undefined;
  readonly tools?: readonly unknown[] | undefined;
}

export interface Usage {
  readonly promptTokens: number;
  /** Prompt tokens that a kept sequence spared. */
  readonly cachedTokens: number;
  /** New tokens in all, and those of the thinking (its markers not counted). */
  readonly tokens: number;
  readonly reasoningTokens: number;
}

export interface Timings {
  /** From the call to the first token, waiting included. */
  readonly firstTokenMs: number;
  readonly prefillMs: number;
  readonly decodeMs: number;
  readonly prefillTokensPerSecond: number;
  readonly tokensPerSecond: number;
}

/** A piece of the stream. `text` is empty in the last part, so that `part.text` may be written as it comes. */
export type ChatPart =
  | { readonly kind: "reasoning" | "answer"; readonly text: string }
  | {
      readonly kind: "done";
      readonly text: "";
      readonly finishReason: FinishReason;
      /** The stop text that ended the answer. */
      readonly stopped: string | undefined;
      readonly usage: Usage;
      readonly timings: Timings;
    };

/** A model that only continues text was asked to chat. */
export class NoChatTemplateError extends Error {
  override readonly name = "NoChatTemplateError";
}

/**
 * Streams the model's reply to a conversation. Several calls at once share one batch. Leaving the loop, or `signal`,
 * stops the work.
 *
 * @throws {NoChatTemplateError} {ChatTemplateError} {PromptTooLongError}
 */
export function chat(
  model: Model,
  messages: readonly ChatMessage[],
  options: ChatOptions = {},
): AsyncGenerator<ChatPart> {
  if (!model.template) throw new NoChatTemplateError(`${model.name} has no chat template: it can only continue text`);
  const prompt = model.template.render(messages, {
    addGenerationPrompt: true,
    ...(options.enableThinking !== undefined ? { enableThinking: options.enableThinking } : {}),
    ...(options.tools ? { tools: [...options.tools] } : {}),
  });
  return run(model, prompt, model.tokenizer.encode(prompt), options);
}

/** Streams the model's continuation of a text. Special tokens written in the text are recognised. */
export function complete(model: Model, text: string, options: GenerateOptions = {}): AsyncGenerator<ChatPart> {
  const promptIds = model.tokenizer.encode(text, { addSpecialTokens: true });
  // A text without special tokens, and a tokenizer that adds none: begin as the training texts did.
  const [first] = model.generation.stopIds;
  return run(model, text, promptIds.length > 0 || first === undefined ? promptIds : [first], options);
}

async function* run(
  model: Model,
  prompt: string,
  promptIds: readonly number[],
  options: GenerateOptions,
): AsyncGenerator<ChatPart> {
  const began = performance.now();
  const { tokenizer, thinking, generation, engine } = model;
  const startsInside = thinking !== undefined && prompt.trimEnd().endsWith(thinking.open);
  const byToken = thinking?.openId !== undefined && thinking.closeId !== undefined;
  const { thinkingBudget } = options;
  const request: TokenRequest = {
    promptIds,
    sampling: samplingOf(model, options),
    maxTokens: options.maxTokens ?? generation.maxTokens ?? engine.maxTokens,
    stopIds: generation.stopIds,
    repetitionStop: { tokens: 3000, probability: 0.99, ...options.repetitionStop },
    thinking:
      thinking?.openId !== undefined && thinking.closeId !== undefined
        ? { openId: thinking.openId, closeId: thinking.closeId, budget: thinkingBudget, startsInside }
        : undefined,
    closingIds: thinking?.closingIds ?? [],
    stepwise: thinking !== undefined && !byToken && thinkingBudget !== undefined,
    signal: options.signal,
  };
  const tokens = engine.generate(request);

  const detokenizer = createDetokenizer(tokenizer, { skipSpecial: false });
  const parser = thinking
    ? createThinkParser({
        open: thinking.open,
        close: thinking.close,
        startsInside,
        trimNewlines: thinking.trimNewlines,
        ...(byToken ? { openId: thinking.openId as number, closeId: thinking.closeId as number } : {}), // byToken: both are set
      })
    : undefined;
  const stops = createStopMatcher(options.stop ?? []);

  const usage = { promptTokens: promptIds.length, cachedTokens: 0, tokens: 0, reasoningTokens: 0 };
  let firstTokenAt = 0;
  let finishReason: FinishReason = "stop";
  let stopped: string | undefined;
  let closing = false;

  /** What the parser gave, with stop texts looked for in the answer. */
  function* visible(pieces: readonly { kind: "reasoning" | "answer"; text: string }[]): Generator<ChatPart> {
    for (const { kind, text } of pieces) {
      if (stopped !== undefined) return;
      if (kind === "reasoning") {
        if (text !== "") yield { kind, text };
        continue;
      }
      const match = stops.push(text);
      if (match.text !== "") yield { kind, text: match.text };
      stopped = match.stopped;
    }
  }

  for await (const { id, finish } of tokens) {
    if (firstTokenAt === 0) firstTokenAt = performance.now();
    usage.tokens += 1;
    const isStopToken = finish === "stop";
    const wasReasoning = parser?.kind === "reasoning";
    if (!isStopToken) {
      const text = detokenizer.push(id);
      yield* visible(parser ? parser.pushToken(id, text) : [{ kind: "answer", text }]);
      if (parser && wasReasoning && parser.kind === "reasoning") usage.reasoningTokens += 1;
    }
    if (
      request.stepwise &&
      !closing &&
      parser?.kind === "reasoning" &&
      usage.reasoningTokens >= (thinkingBudget ?? 0)
    ) {
      closing = true;
      tokens.forceClosing();
    }
    if (stopped !== undefined) break;
    if (finish) finishReason = finish;
  }
  if (stopped === undefined) {
    const rest = detokenizer.end();
    if (parser) {
      yield* visible(rest === "" ? [] : parser.push(rest));
      yield* visible(parser.end());
    } else yield* visible(rest === "" ? [] : [{ kind: "answer", text: rest }]);
    // Held back as the possible start of a stop text; it was none.
    const held = stops.end();
    if (held !== "") yield { kind: "answer", text: held };
  }

  const { timings } = tokens;
  usage.cachedTokens = timings.cachedTokens;
  const perSecond = (count: number, ms: number) => (ms > 0 ? (1000 * count) / ms : 0);
  yield {
    kind: "done",
    text: "",
    finishReason,
    stopped,
    usage,
    timings: {
      firstTokenMs: firstTokenAt - began,
      prefillMs: timings.prefillMs,
      decodeMs: timings.decodeMs,
      prefillTokensPerSecond: perSecond(timings.prefillTokens, timings.prefillMs),
      tokensPerSecond: perSecond(usage.tokens - 1, timings.decodeMs),
    },
  };
}

function samplingOf(model: Model, options: GenerateOptions): SamplingOptions {
  const { sampling } = model.generation;
  const chosen: SamplingOptions = {
    temperature: options.temperature ?? sampling.temperature,
    topK: options.topK ?? sampling.topK,
    topP: options.topP ?? sampling.topP,
    minP: options.minP ?? sampling.minP,
    repetitionPenalty: options.repetitionPenalty ?? sampling.repetitionPenalty,
    seed: options.seed ?? Math.floor(Math.random() * 2 ** 31),
  };
  const check = (name: keyof SamplingOptions, fits: boolean, expected: string) => {
    if (!fits) throw new RangeError(`${name} expected ${expected}, got ${chosen[name]}`);
  };
  check("temperature", chosen.temperature >= 0 && Number.isFinite(chosen.temperature), "a number ≥ 0");
  check("topK", Number.isInteger(chosen.topK) && chosen.topK >= 0, "a whole number ≥ 0");
  check("topP", chosen.topP > 0 && chosen.topP <= 1, "0 < topP ≤ 1");
  check("minP", chosen.minP >= 0 && chosen.minP <= 1, "0 ≤ minP ≤ 1");
  check("repetitionPenalty", chosen.repetitionPenalty > 0 && Number.isFinite(chosen.repetitionPenalty), "a number > 0");
  check("seed", Number.isSafeInteger(chosen.seed), "a whole number");
  return chosen;
}
