/** Products of four weight rows with one or two prepared tokens (prepare.inline.as.ts), for any kind of weights. */
import { load4 } from "../simd.inline.as";
import { dotRow, pairInt8 } from "./dot.inline.as";
import { LANES_BYTES, sumLanes, tileInt4, tileInt8, unpackInt4, unpackInt8 } from "./integer-tile.inline.as";
import { BF16, F32, INT4, INT8, rowBytes, rowScales } from "./weights/weights.inline.as";

/** Scratch of `multiplyFour`: lanes, then [2 tokens, 4 rows] f32. */
// @ts-ignore: decorator
@inline
export const FOUR_BYTES: usize = LANES_BYTES + 32;

/** int8 rows of so many columns are multiplied in pairs: at longer ones, memory gives two streams a third of one's speed. */
// @ts-ignore: decorator
@inline
const MAX_PAIR_COLUMNS: i32 = 480;

/** What products of a prepared token are multiplied with. */
// @ts-ignore: decorator
@inline
export function factorOf(kind: i32, factors: usize, token: i32): f32 {
  return kind == F32 || kind == BF16 ? 1 : load<f32>(factors + ((<usize>token) << 2));
}

/** Unpacks integer rows `row … row + 3` (at most `last`) for `multiplyFour` with more than one token. 8 · rowStride bytes. */
// @ts-ignore: decorator
@inline
export function unpackFour(kind: i32, codes: usize, rowStride: i32, row: i32, last: i32, panel: usize): void {
  const bytes = rowBytes(kind, rowStride);
  const w0 = codes + <usize>row * bytes;
  const w1 = codes + <usize>min(row + 1, last) * bytes;
  const w2 = codes + <usize>min(row + 2, last) * bytes;
  const w3 = codes + <usize>min(row + 3, last) * bytes;
  if (kind == INT8) unpackInt8(w0, w1, w2, w3, rowStride, panel);
  else unpackInt4(w0, w1, w2, w3, rowStride, panel);
}

/**
 * Sums of rows `row … row + 3` (at most `last`: then that one again) with the tokens at x0 and, if `two`, x1; without the
 * tokens' factors. Result: `scratch` + LANES_BYTES, [2, 4].
 *
 * @param hasTile whether integer weights are to be multiplied in tiles, which pays from two tokens on: for one, rows are read
 *   one behind the other, because memory gives less to several side by side (dot.inline.as.ts).
 * @param panel the unpacked rows (`hasTile`).
 */
// @ts-ignore: decorator
@inline
export function multiplyFour(
  kind: i32, codes: usize, scales: usize, rowStride: i32, groupShift: i32, row: i32, last: i32, hasTile: bool, panel: usize,
  x0: usize, x1: usize, two: bool, scratch: usize,
): void {
  const sums = scratch + LANES_BYTES;
  if (kind == INT8 && hasTile) {
    const scale = load4(scales + ((<usize>row) << 2), last + 1 - row);
    tileInt8(panel, x0, two ? x1 : x0, rowStride, sums);
    v128.store(sums, f32x4.mul(v128.load(sums), scale));
    v128.store(sums, f32x4.mul(v128.load(sums, 16), scale), 16);
    return;
  }
  if (kind == INT8 && rowStride <= MAX_PAIR_COLUMNS && row + 3 <= last) {
    const w = codes + <usize>row * <usize>rowStride;
    pairInt8(w, w + <usize>rowStride, x0, rowStride, sums);
    pairInt8(w + 2 * <usize>rowStride, w + 3 * <usize>rowStride, x0, rowStride, sums + 8);
    v128.store(sums, f32x4.mul(v128.load(sums), v128.load(scales + ((<usize>row) << 2))));
    if (two) {
      pairInt8(w, w + <usize>rowStride, x1, rowStride, sums + 16);
      pairInt8(w + 2 * <usize>rowStride, w + 3 * <usize>rowStride, x1, rowStride, sums + 24);
      v128.store(sums, f32x4.mul(v128.load(sums, 16), v128.load(scales + ((<usize>row) << 2))), 16);
    }
    return;
  }
  if (kind == INT4 && hasTile) {
    const bytes = rowScales(INT4, rowStride, groupShift) << 2;
    const s0 = scales + <usize>row * bytes;
    const s1 = scales + <usize>min(row + 1, last) * bytes;
    const s2 = scales + <usize>min(row + 2, last) * bytes;
    const s3 = scales + <usize>min(row + 3, last) * bytes;
    tileInt4(panel, s0, s1, s2, s3, groupShift, x0, two ? x1 : x0, rowStride, scratch);
    v128.store(sums, sumLanes(scratch));
    v128.store(sums, sumLanes(scratch + 64), 16);
    return;
  }
  for (let i = 0; i < min(4, last + 1 - row); i++) {
    const at = sums + ((<usize>i) << 2);
    store<f32>(at, dotRow(kind, codes, scales, row + i, rowStride, groupShift, x0));
    if (two) store<f32>(at, dotRow(kind, codes, scales, row + i, rowStride, groupShift, x1), 16);
  }
}
