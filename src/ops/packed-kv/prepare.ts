/**
 * Makes a step's q, k and v ready for a packed cache, in place.
 *
 *   q ← rope(norm(q));  k ← rope(norm(k));  v ← v                       (the norms where given)
 *   kinds that rotate after rotary:  q, k ← H q, H k  per head          (scores do not change)
 *   v ← H_v v                                                           (undone on attention's result)
 *   kinds with a ring (`ringTokens` > 0): k, v are rounded to f16, so that chunk sizes do not change what is packed
 *
 * Axes  T tokens, H query heads, G key/value heads, D head size; qkv: [T, (H + 2G)·D].
 */
import { ShapeError, type Tensor } from "../../tensor/index.js";
import type { RopeTable } from "../rope/rope.js";
import type { Step } from "../step/layout.js";
import type { PackedPages } from "./packed-pages.js";

export interface PrepareOptions {
  /** H. */
  readonly heads: number;
  readonly rope?: RopeTable;
  /** [D] f32: weights of a norm of each q head, of each k head. */
  readonly qNorm?: Tensor;
  readonly kNorm?: Tensor;
  /** Of the norms. Default 1e-6. */
  readonly eps?: number;
}

/** What `packKv` and `packedAttention` need beside qkv. */
export interface PreparedKv extends Disposable {
  /** ropeAtRead: [T, G·D] f32, the quantiser's input: keys before rotary, rotated and reordered. */
  readonly keyRows: Tensor | undefined;
  /**
   * meanPairs > 0: [T, H, meanPairs, 2] f32: (A, B) of q · R_p μ = Σ A cos(p θ_i) + B sin(p θ_i) over the kept pairs i of the
   * head's key/value head, from q after rotary and before H.
   */
  readonly meanTerms: Tensor | undefined;
  dispose(): void;
}

/** @throws {ShapeError} qkv, the norms or the pages do not fit together. */
export function prepareKv(_qkv: Tensor, _pages: PackedPages, _o: PrepareOptions, _step: Step): PreparedKv {
  throw new ShapeError("prepareKv", "qkv", "kernels", "none");
}
