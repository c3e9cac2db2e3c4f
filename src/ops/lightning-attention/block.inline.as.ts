/** Pieces of blocked lightning attention on the CPU: packing, and the 4 × 8 product that all of its matrices are made of. */
import { storeTransposed } from "../matmul/tile.inline.as";
import { load4, madd } from "../simd.inline.as";

/**
 * sums (4 × 8, contiguous) = keep · sums + Σ over n < steps of a[n] (4 numbers, `aBytes` apart)ᵀ · b[n] (8 numbers, contiguous).
 * `keep` = 0 overwrites.
 *
 * Not unrolled, for the reason given at `multiplyTile` of the matrix product.
 */
export function multiplyStrided(steps: i32, a: usize, aBytes: usize, b: usize, sums: usize, keep: f32): void {
  let c00 = f32x4.splat(0), c01 = c00, c10 = c00, c11 = c00;
  let c20 = c00, c21 = c00, c30 = c00, c31 = c00;
  const stop = b + ((<usize>steps) << 5);
  while (b < stop) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const a0 = v128.load_splat<f32>(a);
    c00 = madd(a0, b0, c00);
    c01 = madd(a0, b1, c01);
    const a1 = v128.load_splat<f32>(a, 4);
    c10 = madd(a1, b0, c10);
    c11 = madd(a1, b1, c11);
    const a2 = v128.load_splat<f32>(a, 8);
    c20 = madd(a2, b0, c20);
    c21 = madd(a2, b1, c21);
    const a3 = v128.load_splat<f32>(a, 12);
    c30 = madd(a3, b0, c30);
    c31 = madd(a3, b1, c31);
    a += aBytes;
    b += 32;
  }
  if (keep != 0) {
    const f = f32x4.splat(keep);
    c00 = madd(f, v128.load(sums), c00);
    c01 = madd(f, v128.load(sums, 16), c01);
    c10 = madd(f, v128.load(sums, 32), c10);
    c11 = madd(f, v128.load(sums, 48), c11);
    c20 = madd(f, v128.load(sums, 64), c20);
    c21 = madd(f, v128.load(sums, 80), c21);
    c30 = madd(f, v128.load(sums, 96), c30);
    c31 = madd(f, v128.load(sums, 112), c31);
  }
  v128.store(sums, c00);
  v128.store(sums, c01, 16);
  v128.store(sums, c10, 32);
  v128.store(sums, c11, 48);
  v128.store(sums, c20, 64);
  v128.store(sums, c21, 80);
  v128.store(sums, c30, 96);
  v128.store(sums, c31, 112);
}

/**
 * Four lines of `length` numbers, `lineBytes` apart, as columns: [channel, 4] with `toBytes` from channel to channel. Lines
 * from `count` on are zeros, and so are channels behind the length up to a multiple of four.
 */
export function packTransposed(from: usize, lineBytes: usize, count: i32, length: i32, to: usize, toBytes: usize): void {
  const nothing = f32x4.splat(0);
  for (let c = 0; c < length; c += 4) {
    const at = from + ((<usize>c) << 2);
    const left = length - c;
    const v0 = count > 0 ? load4(at, left) : nothing;
    const v1 = count > 1 ? load4(at + lineBytes, left) : nothing;
    const v2 = count > 2 ? load4(at + 2 * lineBytes, left) : nothing;
    const v3 = count > 3 ? load4(at + 3 * lineBytes, left) : nothing;
    storeTransposed(v0, v1, v2, v3, to + <usize>c * toBytes, toBytes);
  }
}

/** to = factor · line, zeros behind it up to a multiple of four. */
// @ts-ignore: decorator
@inline
export function packScaled(from: usize, length: i32, factor: f32, to: usize): void {
  const f = f32x4.splat(factor);
  for (let c = 0; c < length; c += 4) {
    v128.store(to + ((<usize>c) << 2), f32x4.mul(f, load4(from + ((<usize>c) << 2), length - c)));
  }
}

/** A line into panels of eight columns, `panelBytes` apart; zeros behind its end. */
// @ts-ignore: decorator
@inline
export function packPanels(from: usize, length: i32, to: usize, panelBytes: usize): void {
  const nothing = f32x4.splat(0);
  for (let c = 0; c < length; c += 8) {
    const at = from + ((<usize>c) << 2);
    const left = length - c;
    v128.store(to, load4(at, left));
    v128.store(to, left > 4 ? load4(at + 16, left - 4) : nothing, 16);
    to += panelBytes;
  }
}
