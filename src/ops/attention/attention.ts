/**
 * Causal softmax attention over the pages of a cache, for prefill and decode steps.
 *
 *   out[t, h] = Σ_j softmax_j(scale · q[t, h] · k[j, g]) · v[j, g],   g = ⌊h · G / H⌋,
 *   j = max(0, p − window + 1) … p for a token at position p, over the pages of the token's slot
 *
 * Axes      T tokens, H query heads, G key/value heads (G divides H), D head size (a multiple of 4, at most 256).
 *           qkv: [T, (H + 2G)·D] f32, q heads first and rotated already; out: [T, H·D] f32.
 * Precision storage as the pages have it; scores, softmax and sums in float32 everywhere, with an online softmax (running
 *           maximum and sum over blocks of keys). The reference computes in float64.
 * Source    Vaswani et al. 2017, arXiv 1706.03762; online softmax: Milakov & Gimelshein 2018, arXiv 1805.02867; splitting
 *           the context in decode steps: Dao et al. 2023, "Flash-Decoding".
 * Departs   hidden keys are left out, never −∞ through exp. A dead token's result is zero. Keys on a page that no segment
 *           holds are left out too.
 */
import { empty, record, ShapeError, type Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import { attentionOnCpu } from "./attention.launch-cpu.js";
import { attentionOnWebGpu } from "./attention.launch-webgpu.js";
import { checkPages, checkQkv } from "./check-pages.js";
import type { KvPages } from "./kv-pages.js";

export { attentionVariants } from "./attention.wgsl.js";

export interface AttentionOptions {
  /** H. */
  readonly heads: number;
  /** On q · k; usually 1/√D. */
  readonly scale: number;
  /** Positions that a token sees, itself included. Default: all. */
  readonly window?: number;
}

/** Options with every default filled in, as the launches take them. */
export interface AttentionPlan {
  readonly heads: number;
  readonly scale: number;
  readonly window: number;
}

/** "All positions": larger than any, and small enough that kernels can subtract it and a position without overflow. */
const ALL = 2 ** 30;

/**
 * Attention of every token of the step. Keys and values of the step's own tokens are in the pages already (`ropeAppend`).
 *
 * @returns [T, H·D] f32.
 * @throws {ShapeError} qkv or the pages do not fit together.
 *
 * Cost: 4·H·D FLOPs for each pair of a token and a key that it sees; a decode step reads keys and values once.
 */
export function attention(qkv: Tensor, pages: KvPages, o: AttentionOptions, step: Step): Tensor {
  checkPages("attention", pages);
  checkQkv("attention", qkv, pages, o.heads, step);
  const { headDim } = pages;
  if (headDim % 4 !== 0 || headDim > 256) {
    throw new ShapeError("attention", "headDim", "a multiple of 4, at most 256", [headDim]);
  }
  if (!Number.isFinite(o.scale)) throw new RangeError(`attention: scale expected a number, got ${o.scale}`);
  if (o.window !== undefined && !(Number.isInteger(o.window) && o.window >= 1)) {
    throw new RangeError(`attention: window expected a whole number ≥ 1, got ${o.window}`);
  }
  const plan: AttentionPlan = { heads: o.heads, scale: o.scale, window: Math.min(o.window ?? ALL, ALL) };
  const out = empty(qkv.device, [step.tokenCount, o.heads * headDim], "f32", "attention");
  if (step.tokenCount > 0) {
    const { device } = qkv;
    if (device.kind === "webgpu") attentionOnWebGpu(device, qkv, pages, plan, step, out);
    else attentionOnCpu(device, qkv, pages, plan, step, out);
  }
  record("attention", [qkv], [out]);
  return out;
}
