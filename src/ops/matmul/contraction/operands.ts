/**
 * The products of a backward pass: sums over an axis that either operand may hold along its rows or down its columns.
 *
 *   C[m, n] = Σ over k of A(m, k) · B(n, k)   (+ C before, with `accumulate`)
 *
 *   rows      A is stored [M, stride], k along a row
 *   columns   A is stored [K, stride], m along a row
 *
 * With a product z = x Wᵀ, dx = dz W has A = dz by rows and B = W by columns, dW = dzᵀ x has both by columns: nothing is
 * transposed in memory. Operands are float32, or halves for matrix units ([lines, octets of 16 bytes], rows filled up with
 * zeros to a multiple of 64 columns).
 *
 * Experts   In `places` lines of A are places sorted by expert, each expert's beginning at a multiple of a tile; B is the part
 *           of the place's expert. In `sums` k are places, and each expert has a C of its own: the sum over its places.
 */
import type { Tensor } from "../../../tensor/index.js";

export type Order = "rows" | "columns";

export interface Operand {
  /** f32 [lines, stride], zeros from the last column on; or halves, u32 [lines, 4 · octets]. */
  readonly tensor: Tensor;
  readonly order: Order;
}

/** Which part of B, of k and of C a workgroup has. */
export type ContractionMode = "plain" | "places" | "sums";

export interface Experts {
  readonly mode: "places" | "sums";
  readonly count: number;
  /** Tokens of the tiles that an expert's places are filled up to. */
  readonly unit: number;
  /** places: u32 [M / unit], the expert of each tile, or `count` where there is none. sums: u32 [count + 1], first places. */
  readonly table: Tensor;
}

export interface Contraction {
  readonly a: Operand;
  readonly b: Operand;
  readonly M: number;
  readonly N: number;
  readonly K: number;
  /** f32 [M, stride ≥ N] (of each expert in `sums`): columns from N on are left as they are. */
  readonly out: Tensor;
  readonly accumulate?: boolean;
  readonly experts?: Experts;
}
