/**
 * Causal softmax attention over a packed cache, its side store, and the step's own tokens.
 *
 *   out[t, h] = H_vᵀ Σ_j softmax_j(scale · q[t, h] · k̂[j, g]) · v̂[j, g]
 *
 * A token at position p of a row with `past` tokens before the step sees, of positions max(0, p − window + 1) … p: those
 * before packedEnd(past) packed (sinks and skipped ones aside), those from there to past − 1 and the kept ones from the side
 * store, and the step's own up to itself from qkv. With `strictPrefill`, packedEnd(p) takes the place of packedEnd(past), and
 * `packKv` has run before.
 *
 * Axes  T tokens, H query heads, G key/value heads, D head size; qkv: [T, (H + 2G)·D] after `prepareKv`; out: [T, H·D] f32.
 */
import { ShapeError, type Tensor } from "../../tensor/index.js";
import type { PackedPages } from "../packed-kv/packed-pages.js";
import type { PreparedKv } from "../packed-kv/prepare.js";
import type { RopeTable } from "../rope/rope.js";
import type { Step } from "../step/layout.js";

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

/**
 * @param stores One, or two over the same tokens (mixed widths): side entries and own tokens count with the first.
 * @returns [T, H·D] f32, values' rotation undone.
 * @throws {ShapeError} qkv or the pages do not fit together.
 */
export function packedAttention(
  _qkv: Tensor,
  _prepared: PreparedKv,
  _stores: readonly PackedPages[],
  _o: PackedAttentionOptions,
  _step: Step,
): Tensor {
  throw new ShapeError("packedAttention", "qkv", "kernels", "none");
}
