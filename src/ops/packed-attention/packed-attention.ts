/**
 * Causal softmax attention over a packed cache, its side store, and the step's own tokens.
 *
 *   out[t, h] = H_vᵀ Σ_j softmax_j(scale · q[t, h] · k̂[j, g]) · v̂[j, g],   g = ⌊h · G / H⌋
 *
 * A token at position p of a row with `past` tokens before the step sees, of positions max(0, p − window + 1) … p, with
 * E = packedEnd(past), or packedEnd(p) with `strictPrefill` (then `packKv` has packed before):
 *   packed pages   j < E, the sinks and skipped ones aside
 *   side store     of j < past: the sinks; the ring's E … past − 1; marked ones below E (above, the ring has them too)
 *   own            of j ≥ past, from qkv: all up to itself that the packed pages did not give
 *
 * With `valueMean` every v̂ is less its mean v̄[g], which comes back on the result.
 *
 * Axes      T tokens, H query heads, G key/value heads, D head size; qkv: [T, (H + 2G)·D] after `prepareKv`; out: [T, H·D] f32.
 * Precision codes are exact; products, softmax and sums in float32. The reference computes in float64 from the same bytes.
 *           Decoding on WebGPU may multiply 2-bit codes as integers: what keys meet is rounded to 23 bits of a lane's largest,
 *           what values meet to 16 bits of the largest of its four or eight tokens, some 1e-5 of the result's RMS.
 * Departs   as `attention`: a dead token's result is zero, hidden keys are left out, and so are pages that no segment holds.
 */
import { empty, record, ShapeError, type Tensor } from "../../tensor/index.js";
import type { PackedPages } from "../packed-kv/packed-pages.js";
import type { PreparedKv } from "../packed-kv/prepare.js";
import type { RopeTable } from "../rope/rope.js";
import type { Step } from "../step/layout.js";
import { checkPages, checkQkv, checkRotary } from "./check-packed.js";
import { packedAttentionOnCpu } from "./packed-attention.launch-cpu.js";
import { packedAttentionOnWebGpu } from "./packed-attention.launch-webgpu.js";

export { packedAttentionVariants } from "./packed-attention.wgsl.js";

export interface PackedAttentionOptions {
  /** H. */
  readonly heads: number;
  /** On q · k; usually 1/√D. */
  readonly scale: number;
  /** Positions that a token sees, itself included. Default: all. */
  readonly window?: number;
  /** Needed by kinds that apply rotary at every read, and by the mean split. */
  readonly rope?: RopeTable;
}

/** Options with every default filled in, as the launches take them. */
export interface PackedAttentionPlan {
  readonly heads: number;
  readonly scale: number;
  readonly window: number;
  readonly rope: RopeTable | undefined;
  /** The step's (A, B) of the mean split; see `PreparedKv`. */
  readonly meanTerms: Tensor | undefined;
}

/** "All positions": larger than any, and small enough that kernels can subtract it and a position without overflow. */
const ALL = 2 ** 30;

/**
 * @param stores One, or two over the same tokens (mixed widths): side entries and own tokens count with the first.
 * @returns [T, H·D] f32, values' rotation undone.
 * @throws {ShapeError} qkv or the pages do not fit together.
 *
 * Cost: 4·H·D FLOPs for each pair of a token and a key that it sees; a decode step reads the packed bytes once.
 */
export function packedAttention(
  qkv: Tensor,
  prepared: PreparedKv,
  stores: readonly PackedPages[],
  o: PackedAttentionOptions,
  step: Step,
): Tensor {
  const first = stores[0];
  if (!first) throw new ShapeError("packedAttention", "stores", "at least one", "none");
  for (const pages of stores) {
    checkPages("packedAttention", pages);
    checkQkv("packedAttention", qkv, pages, o.heads, step);
    checkRotary("packedAttention", prepared, pages, o, step);
    if (pages !== first && pages.side) {
      throw new ShapeError("packedAttention", "side of a further store", "none: the first has the side entries", "one");
    }
  }
  if (!Number.isFinite(o.scale)) throw new RangeError(`packedAttention: scale expected a number, got ${o.scale}`);
  if (o.window !== undefined && !(Number.isInteger(o.window) && o.window >= 1)) {
    throw new RangeError(`packedAttention: window expected a whole number ≥ 1, got ${o.window}`);
  }
  const plan: PackedAttentionPlan = {
    heads: o.heads,
    scale: o.scale,
    window: Math.min(o.window ?? ALL, ALL),
    rope: o.rope,
    meanTerms: prepared.meanTerms,
  };
  const out = empty(qkv.device, [step.tokenCount, o.heads * first.format.headDim], "f32", "attention");
  if (step.tokenCount > 0) {
    const { device } = qkv;
    if (device.kind === "webgpu") packedAttentionOnWebGpu(device, qkv, stores, plan, step, out);
    else packedAttentionOnCpu(device, qkv, stores, plan, step, out);
  }
  record("packedAttention", [qkv], [out]);
  return out;
}
