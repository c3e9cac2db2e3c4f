/**
 * Softmax attention of a decoder layer, from the input's norm to the output projection.
 *
 *   n = RMSNorm(x);  q, k, v = split(n Wqkvᵀ + b);  a = attend(q, cache ∪ (k, v));  y = alpha · (x or n) + beta · a Woᵀ
 *
 * The three projections are one product over stacked rows. Which positions are kept, and how, is the cache's business.
 *
 * Axes  T tokens, C hidden size, H query heads, G key/value heads, D head size.
 */
import { matmul, normedMatmul, type RopeTable, type RowNorm, type Step, type WeightMatrix } from "../ops/index.js";
import type { Tensor } from "../tensor/index.js";
import type { LayerCache } from "./kv-cache.js";
import type { Branch } from "./residual.js";

export interface AttentionWeights {
  /** [(H + 2G)·D, C]: rows of q, then k, then v. */
  readonly qkv: WeightMatrix;
  readonly qkvBias?: Tensor | undefined;
  readonly qNorm?: Tensor | undefined;
  readonly kNorm?: Tensor | undefined;
  /** [C, H·D]. */
  readonly output: WeightMatrix;
  readonly outputBias?: Tensor | undefined;
}

export interface AttentionOptions {
  readonly heads: number;
  readonly headDim: number;
  readonly rope: RopeTable | undefined;
  readonly window?: number | undefined;
  /** eps of qNorm and kNorm. */
  readonly eps: number;
}

export function attentionBlock(
  x: Tensor,
  norm: RowNorm,
  w: AttentionWeights,
  o: AttentionOptions,
  cache: LayerCache,
  { carries, alpha, beta }: Branch,
  step: Step,
): Tensor {
  const { normed, product } = normedMatmul(x, norm, w.qkv, w.qkvBias ? { bias: w.qkvBias } : {});
  using n = normed;
  using qkv = product;
  const headOptions = { heads: o.heads, rope: o.rope, qNorm: w.qNorm, kNorm: w.kNorm, eps: o.eps, hidden: x };
  const { precision } = w.qkv;
  cache.append(qkv, headOptions, step);
  using a = cache.attend(qkv, { heads: o.heads, scale: 1 / Math.sqrt(o.headDim), window: o.window, precision }, step);
  const residual = { tensor: carries === "normed" ? n : x, alpha, beta };
  return matmul(a, w.output, { residual, ...(w.outputBias ? { bias: w.outputBias } : {}) });
}
