/**
 * The orthonormal Walsh–Hadamard transform of blocks along the last axis (Sylvester's order).
 *
 *   y[block + i] = 1/√n · Σ_j (−1)^popcount(i & j) x[block + j],   blocks of n side by side
 *
 * The matrix is symmetric and its own inverse. A length that is no power of two is cut into blocks: 96 → 3 · 32, 80 → 5 · 16.
 *
 * Axes      n the width of a block, a power of two that divides the last axis.
 * Precision float32 with one rounding an operation: for h = 1, 2, 4, …, n/2 every pair (j, j + h) with bit h of j clear becomes
 *           (a + b, a − b); at the end one product with fl(1/√n). Packed caches rely on it: both devices give the same bits.
 */
import { empty, record, ShapeError, type Tensor } from "../../tensor/index.js";
import { launchFwht } from "./fwht.launch.js";

export { fwhtVariants } from "./fwht.wgsl.js";

/** Longest last axis: a row lies in workgroup memory. */
export const LARGEST_ROW = 4096;

/**
 * @param x f32 [..., C].
 * @param width n; default the largest power of two that divides C.
 * @returns A new tensor of x's shape.
 * @throws {ShapeError} The width is no power of two that divides C, or C is too large.
 */
export function fwht(x: Tensor, width: number = widestBlock(x.shape.at(-1) ?? 1)): Tensor {
  const channels = x.shape.at(-1) ?? 1;
  if (x.dtype !== "f32") throw new ShapeError("fwht", "x", "f32", x.dtype);
  if (channels > LARGEST_ROW) throw new ShapeError("fwht", "x", `a last axis of at most ${LARGEST_ROW}`, x.shape);
  if (!isBlockWidth(width) || channels % width !== 0) {
    throw new ShapeError("fwht", "width", `a power of two that divides ${channels}`, [width]);
  }
  const y = empty(x.device, x.shape);
  if (x.size > 0) launchFwht(x, y, channels, width);
  record("fwht", [x], [y]);
  return y;
}

/** The largest power of two that divides a length. */
export function widestBlock(length: number): number {
  return length & -length;
}

/** 1, 2, 4, 8, … */
export function isBlockWidth(width: number): boolean {
  return Number.isInteger(width) && width >= 1 && (width & (width - 1)) === 0;
}
