/** A panel, eight weight rows widened for a block of packed tokens, and the storing of what it was multiplied to. */
import { EpilogueArgs, finishFour, finishOne } from "./epilogue.inline.as";
import { storeTransposed } from "./tile.inline.as";
import { loadFour, rowBytes, rowScales } from "./weights/weights.inline.as";

/** A panel: DEPTH · 8 floats. */
// @ts-ignore: decorator
@inline
export const PANEL_BYTES: usize = 8192;

/** Widens `depth` columns from `first` of rows `row … row + 7` (at most `last`: then that one again). */
// @ts-ignore: decorator
@inline
export function widen(
  kind: i32, codes: usize, scales: usize, rowStride: i32, groupShift: i32,
  row: i32, last: i32, first: i32, depth: i32, panel: usize,
): void {
  const bytes = rowBytes(kind, rowStride);
  const scaleBytes = rowScales(kind, rowStride, groupShift) << 2;
  for (let half = 0; half < 8; half += 4) {
    const n0 = <usize>min(row + half, last);
    const n1 = <usize>min(row + half + 1, last);
    const n2 = <usize>min(row + half + 2, last);
    const n3 = <usize>min(row + half + 3, last);
    const w0 = codes + n0 * bytes;
    const w1 = codes + n1 * bytes;
    const w2 = codes + n2 * bytes;
    const w3 = codes + n3 * bytes;
    const s0 = scales + n0 * scaleBytes;
    const s1 = scales + n1 * scaleBytes;
    const s2 = scales + n2 * scaleBytes;
    const s3 = scales + n3 * scaleBytes;
    let to = panel + ((<usize>half) << 2);
    for (let k = first; k < first + depth; k += 4) {
      const v0 = loadFour(kind, w0, k, s0, groupShift);
      const v1 = loadFour(kind, w1, k, s1, groupShift);
      const v2 = loadFour(kind, w2, k, s2, groupShift);
      const v3 = loadFour(kind, w3, k, s3, groupShift);
      storeTransposed(v0, v1, v2, v3, to, 32);
      to += 128;
    }
  }
}

/** Stores a block of finished sums, [tokens, 8], as rows t0 … of the result. */
export function finishBlock(g: EpilogueArgs, t0: i32, tokens: i32, n0: i32, sums: usize, upSums: usize): void {
  const width = min(8, g.outputs - n0);
  for (let i = 0; i < tokens; i++) {
    let j = 0;
    for (; j + 4 <= width; j += 4) {
      finishFour(g, t0 + i, n0 + j, v128.load(sums + ((<usize>j) << 2)), v128.load(upSums + ((<usize>j) << 2)));
    }
    for (; j < width; j++) {
      finishOne(g, t0 + i, n0 + j, load<f32>(sums + ((<usize>j) << 2)), load<f32>(upSums + ((<usize>j) << 2)));
    }
    sums += 32;
    upSums += 32;
  }
}
