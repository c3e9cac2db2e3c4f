/**
 * Tiles of 32 tokens on the CPU: what causal attention and lightning attention's gradient are made of. One tile owns the results, others go
 * by; everything is a 4 × 8 product (lightning-attention/block.inline.as.ts), and every sum has one owner and one order.
 */
import { multiplyStrided, packPanels, packTransposed } from "../lightning-attention/block.inline.as";
import { store4 } from "../simd.inline.as";

/** Tokens of a tile. */
// @ts-ignore: decorator
@inline
export const TILE: i32 = 32;

/** Bytes of [32, 8] numbers. */
// @ts-ignore: decorator
@inline
export const PANEL: usize = 1024;

/** The owner's lines as [line / 8, channel, 8]; lines behind `count` are zeros. */
export function packOwner(from: usize, lineBytes: usize, count: i32, length: i32, to: usize): void {
  const panelBytes = (<usize>((length + 3) & ~3)) << 5;
  for (let i = 0; i < count; i += 8) {
    const at = from + <usize>i * lineBytes;
    packTransposed(at, lineBytes, count - i, length, to, 32);
    packTransposed(at + 4 * lineBytes, lineBytes, count - i - 4, length, to + 16, 32);
    to += panelBytes;
  }
}

/** Lines that go by, as [line / 4, channel, 4]. */
export function packPassing(from: usize, lineBytes: usize, count: i32, length: i32, to: usize): void {
  const groupBytes = (<usize>((length + 3) & ~3)) << 4;
  for (let j = 0; j < count; j += 4) {
    packTransposed(from + <usize>j * lineBytes, lineBytes, count - j, length, to, 16);
    to += groupBytes;
  }
}

/** Lines that go by, as [channel / 8, line, 8]. */
export function packMatrix(from: usize, lineBytes: usize, count: i32, length: i32, to: usize): void {
  for (let j = 0; j < count; j++) packPanels(from + <usize>j * lineBytes, length, to + ((<usize>j) << 5), PANEL);
}

/** Dot products of lines `from` … `to` − 1 that go by with one panel of owners: [line, 8]. `from` is a multiple of 4. */
export function dots(channels: i32, passing: usize, owner: usize, from: i32, to: i32, sums: usize): void {
  const groupBytes = (<usize>channels) << 4;
  for (let j = from; j < to; j += 4) {
    multiplyStrided(channels, passing + (<usize>(j >> 2)) * groupBytes, 16, owner, sums + ((<usize>j) << 5), 0);
  }
}

/** results [2, channel / 8, 4, 8] += factors [line, 8]ᵀ · matrix [channel / 8, line, 8], over lines `from` … `to` − 1. */
export function addProducts(factors: usize, matrix: usize, from: i32, to: i32, panels: i32, results: usize): void {
  const skip = (<usize>from) << 5;
  for (let half: usize = 0; half < 2; half++) {
    for (let c = 0; c < panels; c++) {
      multiplyStrided(to - from, factors + skip + (half << 4), 32, matrix + skip + <usize>c * PANEL, results, 1);
      results += 128;
    }
  }
}

/** A line of results [owner / 4, channel / 8, 4, 8]: where number `c` (a multiple of 8) of owner `i` begins. */
// @ts-ignore: decorator
@inline
export function resultAt(results: usize, panels: i32, i: i32, c: i32): usize {
  return results + ((<usize>((i >> 2) * panels + (c >> 3))) << 7) + ((<usize>(i & 3)) << 5);
}

/** to = factor · the line of owner i. */
export function copyResult(results: usize, panels: i32, i: i32, D: i32, factor: f32, to: usize): void {
  const f = f32x4.splat(factor);
  for (let c = 0; c < D; c += 8) {
    const at = resultAt(results, panels, i, c);
    const place = to + ((<usize>c) << 2);
    store4(place, f32x4.mul(f, v128.load(at)), D - c);
    if (D - c > 4) store4(place + 16, f32x4.mul(f, v128.load(at, 16)), D - c - 4);
  }
}
