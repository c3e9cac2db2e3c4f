/**
 * Products of four weight rows with two tokens of 16-bit numbers, exact in integers: the tiles of int8 and int4.
 *
 * Rows are unpacked first, one behind the other, because memory gives half as much to four side by side; then a step takes
 * eight columns: a load of a row serves both tokens, one of a token four rows. Eight sums and six loads fit the 15 usable
 * vector registers of x86-64 (see tile.inline.as.ts), which is why the loop is not unrolled.
 *
 * Sums are added up in the order of dotInt8 and dotInt4, so that tiles of every shape have the same bits.
 */
import { madd, sumFour } from "../simd.inline.as";
import { EXACT_COLUMNS } from "./dot.inline.as";

/** Bytes of the lanes of an int4 tile: [2 tokens, 4 rows, 4 lanes] f32. */
// @ts-ignore: decorator
@inline
export const LANES_BYTES: usize = 128;

// @ts-ignore: decorator
@inline
function sumFourIntegers(v0: v128, v1: v128, v2: v128, v3: v128): v128 {
  return sumFour(
    f32x4.convert_i32x4_s(v0), f32x4.convert_i32x4_s(v1), f32x4.convert_i32x4_s(v2), f32x4.convert_i32x4_s(v3),
  );
}

/** The sums of four rows, each of which has four lanes. */
// @ts-ignore: decorator
@inline
export function sumLanes(lanes: usize): v128 {
  return sumFour(v128.load(lanes), v128.load(lanes, 16), v128.load(lanes, 32), v128.load(lanes, 48));
}

/** Four unpacked int8 rows times two tokens: `sums`, [2, 4], without the scales. */
export function tileInt8(panel: usize, x0: usize, x1: usize, columns: i32, sums: usize): void {
  const end = panel + ((<usize>columns) << 3);
  let isFirst = true;
  while (panel < end) {
    const stop = min(end, panel + ((<usize>EXACT_COLUMNS) << 3));
    let s00 = i32x4.splat(0), s01 = s00, s02 = s00, s03 = s00;
    let s10 = s00, s11 = s00, s12 = s00, s13 = s00;
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
    const v0 = sumFourIntegers(s00, s01, s02, s03);
    const v1 = sumFourIntegers(s10, s11, s12, s13);
    v128.store(sums, isFirst ? v0 : f32x4.add(v128.load(sums), v0));
    v128.store(sums, isFirst ? v1 : f32x4.add(v128.load(sums, 16), v1), 16);
    isFirst = false;
  }
}

/** Unpacks the codes of four int8 rows, side by side for each eight columns, as 16-bit numbers: `tileInt8`'s `panel`. */
export function unpackInt8(w0: usize, w1: usize, w2: usize, w3: usize, columns: i32, panel: usize): void {
  widenRow(w0, columns, panel);
  widenRow(w1, columns, panel + 16);
  widenRow(w2, columns, panel + 32);
  widenRow(w3, columns, panel + 48);
}

function widenRow(w: usize, columns: i32, to: usize): void {
  const stop = w + <usize>columns;
  while (w < stop) {
    v128.store(to, v128.load_ext<i8>(w));
    v128.store(to, v128.load_ext<i8>(w, 8), 64);
    v128.store(to, v128.load_ext<i8>(w, 16), 128);
    v128.store(to, v128.load_ext<i8>(w, 24), 192);
    w += 32;
    to += 256;
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
