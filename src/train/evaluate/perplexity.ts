/**
 * Perplexity of a text: how well a model foretells it.
 *
 * The ids of the whole text, behind the model's start token where it has one, are cut into windows. A window of N + 1 ids
 * gives N predictions, each from the window's ids before it; the next window begins with the last id of this one, so every
 * id but the first is predicted once. The rest that fills no window is left out.
 *
 *   nll per token = Σ nll / tokens;  perplexity = exp(nll per token);  bits per byte = Σ nll / (ln 2 · bytes)
 *
 * Perplexities compare only between models with one tokenizer, bits per byte between all. `bytes` are those of the
 * predicted tokens.
 *
 * Source  windows as in the evaluation of fulgur-mini's model card (2,049 ids each).
 * Our choice  a window goes through the caches in chunks, as a long prompt does: what is measured is the model with its
 *         cache, and logits of a few hundred tokens are in memory at a time.
 */
import { type CacheKind, type Sequence, SequencePool } from "../../cache/index.js";
import { yieldToEvents } from "../../generate/index.js";
import type { LanguageModel } from "../../models/index.js";
import { buildStep } from "../../nn/index.js";
import type { Tokenizer } from "../../text/index.js";
import { negativeLogLikelihood } from "./negative-log-likelihood.js";

export interface PerplexityOptions {
  /** N: predictions of a window. Default 2,048. */
  readonly context?: number;
  /** How keys and values are kept, see `cacheNames`. Default f32. */
  readonly kv?: string | CacheKind;
  /** Predict about so many tokens only: whole windows, one at least. */
  readonly limit?: number | undefined;
  /** Ids in front of the text, once. Default: what the tokenizer puts around every text. */
  readonly startIds?: readonly number[] | undefined;
  /**
   * Tokens that a window's sequence takes in at a time. They see each other exactly, and what came before as the cache keeps
   * it: with few, the text is read as in decoding, which is what a quantised cache must be measured with. Default: as many
   * as a step holds.
   */
  readonly chunk?: number | undefined;
  /** Tokens of a step at most. Default 512 on the CPU, 2,048 on WebGPU, and less for large vocabularies. */
  readonly stepTokens?: number;
  readonly signal?: AbortSignal | undefined;
  /** `nllPerToken`: of the tokens so far. */
  readonly onProgress?: ((progress: PerplexityProgress) => void) | undefined;
}

export interface PerplexityProgress {
  readonly done: number;
  readonly total: number;
  readonly nllPerToken: number;
}

/** Sums, from which results of several texts are put together. */
export interface NllSum {
  /** Nats. */
  readonly nll: number;
  readonly tokens: number;
  readonly bytes: number;
  /** Summed over the steps: bytes that the caches used, and the key and value components in them. */
  readonly cacheBytes: number;
  readonly cacheComponents: number;
}

export interface Perplexity {
  readonly perplexity: number;
  readonly nllPerToken: number;
  readonly bitsPerByte: number;
  readonly tokens: number;
  readonly bytes: number;
  /** Bits of a cached component, everything counted, over the whole run; undefined without softmax layers. */
  readonly effectiveBits: number | undefined;
}

/** The text has fewer tokens than one window. */
export class TextTooShortError extends RangeError {
  override readonly name = "TextTooShortError";
  constructor(
    readonly tokens: number,
    readonly windowTokens: number,
  ) {
    super(`the text has ${tokens} tokens; one window needs ${windowTokens}. Take a longer text or a smaller context.`);
  }
}

/** Logits that are read at a time. */
const LOGIT_BYTES = 64 * 2 ** 20;

/**
 * Begin indices of the windows: each has `context` + 1 ids and shares its first with the last of the one before.
 *
 * @param limit about how many predictions are wanted; at least one window is given.
 */
export function windowStarts(idCount: number, context: number, limit = Number.POSITIVE_INFINITY): number[] {
  const all = Math.max(0, Math.floor((idCount - 1) / context));
  const wanted = Math.max(1, Math.floor(limit / context));
  return Array.from({ length: Math.min(all, wanted) }, (_, i) => i * context);
}

/**
 * Measures a text.
 *
 * @throws {TextTooShortError} The text fills no window.
 * @throws {RangeError} `context` is not a whole number from 1 to the model's longest sequence.
 */
export async function perplexity(
  model: { readonly language: LanguageModel; readonly tokenizer: Pick<Tokenizer, "encode" | "tokenBytes"> },
  text: string,
  options: PerplexityOptions = {},
): Promise<NllSum> {
  const { startIds, ...rest } = options;
  const { tokenizer, language } = model;
  const ids = startIds ? [...startIds, ...tokenizer.encode(text)] : tokenizer.encode(text, { addSpecialTokens: true });
  const { predicted, ...sums } = await idsNll(language, ids, rest);
  return {
    ...sums,
    tokens: predicted.length,
    bytes: predicted.reduce((sum, id) => sum + tokenizer.tokenBytes(id).length, 0),
  };
}

/** Several texts weigh by their tokens. */
export function summary(...sums: readonly NllSum[]): Perplexity {
  const total = (key: keyof NllSum) => sums.reduce((sum, one) => sum + one[key], 0);
  const [nll, tokens, bytes] = [total("nll"), total("tokens"), total("bytes")];
  const nllPerToken = nll / tokens;
  const components = total("cacheComponents");
  const effectiveBits = components === 0 ? undefined : (8 * total("cacheBytes")) / components;
  const bitsPerByte = nll / Math.LN2 / bytes;
  return { perplexity: Math.exp(nllPerToken), nllPerToken, bitsPerByte, tokens, bytes, effectiveBits };
}

/** The same on ids; returns the ids that were predicted too. */
export async function idsNll(
  language: LanguageModel,
  ids: readonly number[],
  options: Omit<PerplexityOptions, "startIds">,
): Promise<Omit<NllSum, "tokens" | "bytes"> & { readonly predicted: readonly number[] }> {
  const { context = 2048, kv = "f32", limit, signal, onProgress } = options;
  const { device, vocabSize } = language;
  const { maxPositions } = language.state;
  if (!(Number.isInteger(context) && context >= 1 && context <= maxPositions)) {
    throw new RangeError(
      `context expected a whole number from 1 to ${maxPositions} (this model's longest sequence), got ${context}`,
    );
  }
  const starts = windowStarts(ids.length, context, limit);
  if (starts.length === 0) throw new TextTooShortError(ids.length, context + 1);

  const usual = options.stepTokens ?? (device.kind === "webgpu" ? 2048 : 512);
  const stepTokens = Math.max(1, Math.min(usual, Math.floor(LOGIT_BYTES / (4 * vocabSize))));
  // Windows go several at a time where their chunks are short, and in several steps where they are long.
  const chunk = Math.min(context, stepTokens, options.chunk ?? context);
  const slots = Math.min(starts.length, Math.max(1, Math.floor(stepTokens / chunk)));
  const total = starts.length * context;
  let nll = 0;
  let done = 0;
  let cacheBytes = 0;
  let cacheComponents = 0;
  using pool = new SequencePool(device, language.state, { slots, kv, maxTokens: context });
  for (let first = 0; first < starts.length; first += slots) {
    const group = starts.slice(first, first + slots);
    const sequences: Sequence[] = group.map(() => pool.open());
    try {
      for (let past = 0; past < context; past += chunk) {
        signal?.throwIfAborted();
        const count = Math.min(chunk, context - past);
        const rows = sequences.map((sequence, i) => {
          sequence.reserve(past + count);
          const from = (group[i] as number) + past; // one start a sequence
          return { slot: sequence.slot, past, ids: ids.slice(from, from + count) };
        });
        const targets = group.flatMap((start) => ids.slice(start + past + 1, start + past + 1 + count));
        using step = buildStep(device, rows);
        using logits = language.forward(step, pool, { logits: "all" });
        nll += negativeLogLikelihood(await logits.readFloat32(), targets, vocabSize);
        for (const sequence of sequences) sequence.length = past + count;
        const { bytes, components } = pool.use;
        cacheBytes += bytes;
        cacheComponents += components;
        done += targets.length;
        if (!Number.isFinite(nll)) {
          throw new Error(
            `the model's logits are not finite numbers at token ${(group[0] as number) + past} of the text`,
          );
        }
        onProgress?.({ done, total, nllPerToken: nll / done });
        await yieldToEvents();
      }
    } finally {
      for (const sequence of sequences) sequence.close();
    }
  }
  return { nll, cacheBytes, cacheComponents, predicted: ids.slice(1, total + 1) };
}
