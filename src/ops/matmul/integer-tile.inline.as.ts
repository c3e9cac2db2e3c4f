/**
 * Products of four weight rows with two tokens of 16-bit numbers, exact in integers: the tiles of int8 and int4.
 *
 * A step takes eight columns: a load widens the codes of a row, and serves both tokens; that of a token serves four rows. So a
 * tile needs 3 loads for 4 products. Eight sums and six loads fit the 15 usable vector registers of x86-64 (see
 * tile.inline.as.ts), which is why the loop is not unrolled.
 *
 * The lanes of a row's sum stay apart up to the end, as in dotInt8 and dotInt4, so that tiles of every shape have the same bits.
 */
import { madd } from "../simd.inline.as";
import { EXACT_COLUMNS } from "./dot.inline.as";

/** Bytes of the lanes of a tile: [2 tokens, 4 rows, 4 lanes] f32. */
// @ts-ignore: decorator
@inline
export const LANES_BYTES: usize = 128;

// @ts-ignore: decorator
@inline
function put(lanes: usize, sums: v128, isFirst: bool): void {
  const v = f32x4.convert_i32x4_s(sums);
  v128.store(lanes, isFirst ? v : f32x4.add(v128.load(lanes), v));
}

/** The sums of four rows, each of which has four lanes: in the order of `sumF32`. */
// @ts-ignore: decorator
@inline
export function sumLanes(lanes: usize): v128 {
  const v0 = v128.load(lanes);
  const v1 = v128.load(lanes, 16);
  const v2 = v128.load(lanes, 32);
  const v3 = v128.load(lanes, 48);
  // Lanes 0 and 2, 1 and 3 of two rows each.
  const low01 = f32x4.add(v128.shuffle<i32>(v0, v1, 0, 1, 4, 5), v128.shuffle<i32>(v0, v1, 2, 3, 6, 7));
  const low23 = f32x4.add(v128.shuffle<i32>(v2, v3, 0, 1, 4, 5), v128.shuffle<i32>(v2, v3, 2, 3, 6, 7));
  return f32x4.add(v128.shuffle<i32>(low01, low23, 0, 2, 4, 6), v128.shuffle<i32>(low01, low23, 1, 3, 5, 7));
}

/** Four int8 rows times two tokens. */
export function tileInt8(
  w0: usize, w1: usize, w2: usize, w3: usize, x0: usize, x1: usize, columns: i32, lanes: usize,
): void {
  const end = w0 + <usize>columns;
  let isFirst = true;
  while (w0 < end) {
    const stop = min(end, w0 + EXACT_COLUMNS);
    let s00 = i32x4.splat(0), s01 = s00, s02 = s00, s03 = s00;
    let s10 = s00, s11 = s00, s12 = s00, s13 = s00;
    while (w0 < stop) {
      const a0 = v128.load(x0);
      const a1 = v128.load(x1);
      const b0 = v128.load_ext<i8>(w0);
      s00 = i32x4.add(s00, i32x4.dot_i16x8_s(b0, a0));
      s10 = i32x4.add(s10, i32x4.dot_i16x8_s(b0, a1));
      const b1 = v128.load_ext<i8>(w1);
      s01 = i32x4.add(s01, i32x4.dot_i16x8_s(b1, a0));
      s11 = i32x4.add(s11, i32x4.dot_i16x8_s(b1, a1));
      const b2 = v128.load_ext<i8>(w2);
      s02 = i32x4.add(s02, i32x4.dot_i16x8_s(b2, a0));
      s12 = i32x4.add(s12, i32x4.dot_i16x8_s(b2, a1));
      const b3 = v128.load_ext<i8>(w3);
      s03 = i32x4.add(s03, i32x4.dot_i16x8_s(b3, a0));
      s13 = i32x4.add(s13, i32x4.dot_i16x8_s(b3, a1));
      x0 += 16;
      x1 += 16;
      w0 += 8;
      w1 += 8;
      w2 += 8;
      w3 += 8;
    }
    put(lanes, s00, isFirst);
    put(lanes + 16, s01, isFirst);
    put(lanes + 32, s02, isFirst);
    put(lanes + 48, s03, isFirst);
    put(lanes + 64, s10, isFirst);
    put(lanes + 80, s11, isFirst);
    put(lanes + 96, s12, isFirst);
    put(lanes + 112, s13, isFirst);
    isFirst = false;
  }
}

/** Unpacks the codes of four int4 rows, side by side for each eight columns, as 16-bit numbers: `tileInt4`'s `panel`. */
export function unpackInt4(w0: usize, w1: usize, w2: usize, w3: usize, columns: i32, panel: usize): void {
  unpackRow(w0, columns, panel);
  unpackRow(w1, columns, panel + 16);
  unpackRow(w2, columns, panel + 32);
  unpackRow(w3, columns, panel + 48);
}

function unpackRow(w: usize, columns: i32, to: usize): void {
  const nibble = i16x8.splat(15);
  const stop = w + ((<usize>columns) >> 1);
  while (w < stop) {
    const v = v128.load(w);
    v128.store(to, v128.and(v, nibble));
    v128.store(to, v128.and(i16x8.shr_u(v, 4), nibble), 64);
    v128.store(to, v128.and(i16x8.shr_u(v, 8), nibble), 128);
    v128.store(to, i16x8.shr_u(v, 12), 192);
    w += 16;
    to += 256;
  }
}

// @ts-ignore: decorator
@inline
function putScaled(lanes: usize, sums: v128, scale: v128): void {
  v128.store(lanes, madd(f32x4.convert_i32x4_s(sums), scale, v128.load(lanes)));
}

/** Four unpacked int4 rows, whose scales begin at s0 … s3, times two tokens; see dotInt4. */
export function tileInt4(
  panel: usize, s0: usize, s1: usize, s2: usize, s3: usize, groupShift: i32,
  x0: usize, x1: usize, columns: i32, lanes: usize,
): void {
  const blocks = columns >> 5;
  const blockShift = groupShift - 5;
  let offset0 = x0 + ((<usize>columns) << 1);
  let offset1 = x1 + ((<usize>columns) << 1);
  memory.fill(lanes, 0, LANES_BYTES);
  for (let block = 0; block < blocks; block++) {
    let s00 = v128.load(offset0), s01 = s00, s02 = s00, s03 = s00;
    let s10 = v128.load(offset1), s11 = s10, s12 = s10, s13 = s10;
    const stop = panel + 256;
    while (panel < stop) {
      const a0 = v128.load(x0);
      const a1 = v128.load(x1);
      const b0 = v128.load(panel);
      s00 = i32x4.add(s00, i32x4.dot_i16x8_s(b0, a0));
      s10 = i32x4.add(s10, i32x4.dot_i16x8_s(b0, a1));
      const b1 = v128.load(panel, 16);
      s01 = i32x4.add(s01, i32x4.dot_i16x8_s(b1, a0));
      s11 = i32x4.add(s11, i32x4.dot_i16x8_s(b1, a1));
      const b2 = v128.load(panel, 32);
      s02 = i32x4.add(s02, i32x4.dot_i16x8_s(b2, a0));
      s12 = i32x4.add(s12, i32x4.dot_i16x8_s(b2, a1));
      const b3 = v128.load(panel, 48);
      s03 = i32x4.add(s03, i32x4.dot_i16x8_s(b3, a0));
      s13 = i32x4.add(s13, i32x4.dot_i16x8_s(b3, a1));
      x0 += 16;
      x1 += 16;
      panel += 64;
    }
    const group = (<usize>(block >> blockShift)) << 2;
    const f0 = v128.load_splat<f32>(s0 + group);
    putScaled(lanes, s00, f0);
    putScaled(lanes + 64, s10, f0);
    const f1 = v128.load_splat<f32>(s1 + group);
    putScaled(lanes + 16, s01, f1);
    putScaled(lanes + 80, s11, f1);
    const f2 = v128.load_splat<f32>(s2 + group);
    putScaled(lanes + 32, s02, f2);
    putScaled(lanes + 96, s12, f2);
    const f3 = v128.load_splat<f32>(s3 + group);
    putScaled(lanes + 48, s03, f3);
    putScaled(lanes + 112, s13, f3);
    offset0 += 16;
    offset1 += 16;
  }
}
