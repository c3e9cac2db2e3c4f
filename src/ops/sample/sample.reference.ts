/** Sampling in float64, with a sort: slow and obvious. */
import { uniformAt } from "./uniform.js";

export interface SamplingParams {
  /** 0: the largest logit alone. Default 1. */
  readonly temperature?: number;
  /** 0: off, the default. */
  readonly topK?: number;
  /** 1: off, the default. */
  readonly topP?: number;
  /** 0: off, the default. */
  readonly minP?: number;
  /** 1: off, the default. Applies to `seen`. */
  readonly repetitionPenalty?: number;
  /** Token ids of the sequence so far. */
  readonly seen?: Iterable<number>;
}

/** Stands for infinities, and for NaN with a minus: everything stays finite, and infinite masks still have probability 0. */
export const LOGIT_LIMIT = 1e30;

/**
 * Probabilities after the filters, 0 for dropped tokens; see `sample` for the rules.
 *
 * @param logits [V].
 */
export function filterProbabilities(logits: ArrayLike<number>, params: SamplingParams = {}): Float64Array {
  const { temperature = 1, topK = 0, topP = 1, minP = 0 } = params;
  const x = penalised(logits, params);
  const probabilities = new Float64Array(x.length);
  if (!(temperature > 0)) {
    probabilities[x.indexOf(x.reduce((a, b) => Math.max(a, b)))] = 1;
    return probabilities;
  }
  // Largest first, lower index first among equals.
  const order = Array.from(x.keys()).sort((a, b) => x[b]! - x[a]! || a - b);
  const top = x[order[0]!]!;
  const mass = x.map((value) => Math.exp((value - top) / temperature));
  let kept = order;
  if (topK > 0 && topK < x.length) {
    const smallest = x[order[topK - 1]!]!;
    kept = kept.filter((i) => x[i]! >= smallest);
  }
  if (topP < 1) {
    const wanted = topP * sum(mass, kept);
    let before = 0;
    kept = kept.filter((i, rank) => {
      const isKept = rank === 0 || before < wanted;
      before += mass[i]!;
      return isKept;
    });
  }
  kept = kept.filter((i) => mass[i]! >= Math.min(minP, 1));
  const total = sum(mass, kept);
  for (const i of kept) probabilities[i] = mass[i]! / total;
  return probabilities;
}

/**
 * The token that `sample` draws, and its log-probability.
 *
 * @param probabilities of `filterProbabilities`.
 */
export function drawReference(
  logits: ArrayLike<number>,
  probabilities: Float64Array,
  seed: number,
  position: number,
): { token: number; logProb: number } {
  const u = uniformAt(seed, position);
  let token = probabilities.findLastIndex((p) => p > 0);
  let cumulative = 0;
  for (const [i, p] of probabilities.entries()) {
    cumulative += p;
    if (cumulative > u) {
      token = i;
      break;
    }
  }
  const raw = Float64Array.from(logits, finite);
  const top = raw.reduce((a, b) => Math.max(a, b));
  const total = raw.reduce((a, b) => a + Math.exp(b - top), 0);
  return { token, logProb: raw[token]! - top - Math.log(total) };
}

/** Sets the bits of tokens, [slots, words]; ids and slots out of range set none. */
export function markSeenReference(
  seen: Uint32Array,
  words: number,
  tokens: readonly { id: number; slot: number }[],
): void {
  for (const { id, slot } of tokens) {
    if (slot < 0 || id < 0 || id >>> 5 >= words) continue;
    seen[slot * words + (id >>> 5)]! |= 1 << (id & 31);
  }
}

function finite(x: number): number {
  return Number.isNaN(x) ? -LOGIT_LIMIT : Math.min(Math.max(x, -LOGIT_LIMIT), LOGIT_LIMIT);
}

function penalised(logits: ArrayLike<number>, { repetitionPenalty = 1, seen = [] }: SamplingParams): Float64Array {
  const x = Float64Array.from(logits, finite);
  for (const id of new Set(seen)) {
    if (id < x.length) x[id] = x[id]! > 0 ? x[id]! / repetitionPenalty : x[id]! * repetitionPenalty;
  }
  return x;
}

function sum(values: Float64Array, indices: readonly number[]): number {
  return indices.reduce((total, i) => total + values[i]!, 0);
}
