/** What a generation is asked for, and what it reports. Token level; text belongs to `chat`. */

/** Sampling, in the order in which the filters apply. */
export interface SamplingOptions {
  /** 0: the most probable token. */
  readonly temperature: number;
  /** Keep the k most probable tokens; 0: off. */
  readonly topK: number;
  /** Keep the smallest set of tokens whose probabilities reach p; 1: off. */
  readonly topP: number;
  /** Drop tokens below this share of the largest probability; 0: off. */
  readonly minP: number;
  /** Divides positive and multiplies negative logits of tokens that occurred; 1: off. */
  readonly repetitionPenalty: number;
  /** Random numbers depend on the seed and the position alone. */
  readonly seed: number;
}

/** MiniMax-M1 report §3.2: stop after 3,000 consecutive tokens that each have probability above 0.99. */
export interface RepetitionStop {
  /** Tokens in a row; 0: off. */
  readonly tokens: number;
  readonly probability: number;
}

/** How thinking is bounded on the device, where its markers are single tokens. */
export interface DeviceThinking {
  readonly openId: number;
  readonly closeId: number;
  /** Thinking tokens allowed; undefined: no limit. */
  readonly budget: number | undefined;
  /** The prompt ends inside the thinking. */
  readonly startsInside: boolean;
}

export interface TokenRequest {
  readonly promptIds: readonly number[];
  readonly sampling: SamplingOptions;
  readonly maxTokens: number;
  readonly stopIds: readonly number[];
  readonly repetitionStop: RepetitionStop;
  readonly thinking: DeviceThinking | undefined;
  /** Tokens that close the thinking at the budget. */
  readonly closingIds: readonly number[];
  /** The consumer decides after each token (budgets over text markers): the device must not run ahead. */
  readonly stepwise: boolean;
  readonly signal: AbortSignal | undefined;
}

export type FinishReason = "stop" | "length" | "repetition" | "context";

/** The most probable tokens, `maxTokens` of them unless a stop token comes before; nothing else ends or steers them. */
export function greedyRequest(
  promptIds: readonly number[],
  maxTokens: number,
  more: Partial<Pick<TokenRequest, "stopIds" | "signal">> = {},
): TokenRequest {
  return {
    promptIds,
    sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 },
    maxTokens,
    stopIds: [],
    repetitionStop: { tokens: 0, probability: 1 },
    thinking: undefined,
    closingIds: [],
    stepwise: false,
    signal: undefined,
    ...more,
  };
}

export interface TokenEvent {
  readonly id: number;
  /** Natural log of the token's probability at temperature 1, without filters; 0 for forced tokens. */
  readonly logProb: number;
  /** Set with the last token. */
  readonly finish: FinishReason | undefined;
}

export interface TokenTimings {
  /** Prompt tokens found in a kept sequence, and those that were computed. */
  readonly cachedTokens: number;
  readonly prefillTokens: number;
  /** From the start of the first prefill step to the first token. */
  readonly prefillMs: number;
  /** From the first token to the last. */
  readonly decodeMs: number;
}

/** The prompt does not fit. */
export class PromptTooLongError extends RangeError {
  override readonly name = "PromptTooLongError";
  constructor(
    readonly promptTokens: number,
    readonly maxTokens: number,
  ) {
    super(`the prompt has ${promptTokens} tokens; this model's context here holds ${maxTokens}, the answer included`);
  }
}

/** The prompt holds an id that the model has no row for. */
export class PromptIdError extends RangeError {
  override readonly name = "PromptIdError";
}
