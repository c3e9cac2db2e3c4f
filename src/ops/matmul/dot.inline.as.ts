/**
 * Products of one weight row with one prepared token (see prepare.as.ts); `columns` is a multiple of 32.
 *
 * A row is read from start to end, two vectors a step: one sequential stream suits the prefetcher, whereas several rows side
 * by side at a stride of a power of two reach half the bandwidth. Independent sums hide the latency of the adder. All are
 * memory-bound: 0.5 (f32) to 4 (int4) operations a byte.
 */
import { madd, sumF32 } from "../simd.inline.as";
import { BF16, F16, F32, INT8, movedHalf, rowBytes, rowScales } from "./weights/weights.inline.as";

/** x in natural order. */
export function dotF32(w: usize, x: usize, columns: i32): f32 {
  const stop = w + ((<usize>columns) << 2);
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
  while (w < stop) {
    s0 = madd(v128.load(w), v128.load(x), s0);
    s1 = madd(v128.load(w, 16), v128.load(x, 16), s1);
    s2 = madd(v128.load(w, 32), v128.load(x, 32), s2);
    s3 = madd(v128.load(w, 48), v128.load(x, 48), s3);
    w += 64;
    x += 64;
  }
  return sumF32(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
}

/** x split into even and odd columns: widening then needs no shuffle. */
export function dotBf16(w: usize, x: usize, columns: i32): f32 {
  const stop = w + ((<usize>columns) << 1);
  const upper = i32x4.splat(0xffff0000);
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
  while (w < stop) {
    const v0 = v128.load(w);
    const v1 = v128.load(w, 16);
    s0 = madd(i32x4.shl(v0, 16), v128.load(x), s0);
    s1 = madd(v128.and(v0, upper), v128.load(x, 16), s1);
    s2 = madd(i32x4.shl(v1, 16), v128.load(x, 32), s2);
    s3 = madd(v128.and(v1, upper), v128.load(x, 48), s3);
    w += 32;
    x += 64;
  }
  return sumF32(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
}

/** x split into even and odd columns and enlarged, to make up for the 2^-112 of `movedHalf`. */
export function dotF16(w: usize, x: usize, columns: i32): f32 {
  const stop = w + ((<usize>columns) << 1);
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
  while (w < stop) {
    const v0 = v128.load(w);
    const v1 = v128.load(w, 16);
    s0 = madd(movedHalf(i32x4.shl(v0, 16)), v128.load(x), s0);
    s1 = madd(movedHalf(v0), v128.load(x, 16), s1);
    s2 = madd(movedHalf(i32x4.shl(v1, 16)), v128.load(x, 32), s2);
    s3 = madd(movedHalf(v1), v128.load(x, 48), s3);
    w += 32;
    x += 64;
  }
  return sumF32(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
}

/** A lane sums 512 products over this many columns: 512 · 128 · 32767 is just below 2^31. */
// @ts-ignore: decorator
@inline
export const EXACT_COLUMNS: i32 = 2048;

/** x as 16-bit numbers in natural order. Without the scales of w and x. */
export function dotInt8(w: usize, x: usize, columns: i32): f32 {
  const end = w + <usize>columns;
  let sum: f32 = 0;
  while (w < end) {
    const stop = min(end, w + EXACT_COLUMNS);
    let s0 = i32x4.splat(0), s1 = s0;
    while (w < stop) {
      s0 = i32x4.add(s0, i32x4.dot_i16x8_s(v128.load_ext<i8>(w), v128.load(x)));
      s1 = i32x4.add(s1, i32x4.dot_i16x8_s(v128.load_ext<i8>(w, 8), v128.load(x, 16)));
      s0 = i32x4.add(s0, i32x4.dot_i16x8_s(v128.load_ext<i8>(w, 16), v128.load(x, 32)));
      s1 = i32x4.add(s1, i32x4.dot_i16x8_s(v128.load_ext<i8>(w, 24), v128.load(x, 48)));
      w += 32;
      x += 64;
    }
    sum += sumF32(f32x4.convert_i32x4_s(i32x4.add(s0, s1)));
  }
  return sum;
}

/** The same for two rows, whose sums go to `sums`: they share what is loaded of x. For rows that lie close together. */
export function pairInt8(w0: usize, w1: usize, x: usize, columns: i32, sums: usize): void {
  const end = w0 + <usize>columns;
  let sum = f32x4.splat(0);
  while (w0 < end) {
    const stop = min(end, w0 + EXACT_COLUMNS);
    let s0 = i32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
    while (w0 < stop) {
      const a = v128.load(x);
      const b = v128.load(x, 16);
      s0 = i32x4.add(s0, i32x4.dot_i16x8_s(v128.load_ext<i8>(w0), a));
      s1 = i32x4.add(s1, i32x4.dot_i16x8_s(v128.load_ext<i8>(w1), a));
      s2 = i32x4.add(s2, i32x4.dot_i16x8_s(v128.load_ext<i8>(w0, 8), b));
      s3 = i32x4.add(s3, i32x4.dot_i16x8_s(v128.load_ext<i8>(w1, 8), b));
      x += 32;
      w0 += 16;
      w1 += 16;
    }
    const v0 = f32x4.convert_i32x4_s(i32x4.add(s0, s2));
    const v1 = f32x4.convert_i32x4_s(i32x4.add(s1, s3));
    // In the order of sumF32: lanes 0 and 2, 1 and 3, then both.
    const low = f32x4.add(v128.shuffle<i32>(v0, v1, 0, 1, 4, 5), v128.shuffle<i32>(v0, v1, 2, 3, 6, 7));
    sum = f32x4.add(sum, f32x4.add(v128.shuffle<i32>(low, low, 0, 2, 0, 2), v128.shuffle<i32>(low, low, 1, 3, 1, 3)));
  }
  v128.store64_lane(sums, sum, 0);
}

/**
 * x as 16-bit numbers in natural order, behind them for each 32 columns four lane sums of −8 · x: the offset of the codes
 * costs one addition a block. Without the scale of x.
 */
export function dotInt4(w: usize, x: usize, columns: i32, scales: usize, groupShift: i32): f32 {
  const blocks = columns >> 5;
  const nibble = i16x8.splat(15);
  const blockShift = groupShift - 5;
  let offset = x + ((<usize>columns) << 1);
  let sum = f32x4.splat(0);
  for (let block = 0; block < blocks; block++) {
    const v = v128.load(w);
    const d0 = i32x4.dot_i16x8_s(v128.and(v, nibble), v128.load(x));
    const d1 = i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(v, 4), nibble), v128.load(x, 16));
    const d2 = i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(v, 8), nibble), v128.load(x, 32));
    const d3 = i32x4.dot_i16x8_s(i16x8.shr_u(v, 12), v128.load(x, 48));
    const low = i32x4.add(i32x4.add(v128.load(offset), d0), d1);
    const dot = i32x4.add(low, i32x4.add(d2, d3));
    sum = madd(f32x4.convert_i32x4_s(dot), v128.load_splat<f32>(scales + ((<usize>block >> blockShift) << 2)), sum);
    w += 16;
    x += 64;
    offset += 16;
  }
  return sumF32(sum);
}

/** The product of row `row` of a matrix of any kind with a token that was prepared for the kind; without the token's factor. */
// @ts-ignore: decorator
@inline
export function dotRow(kind: i32, codes: usize, scales: usize, row: i32, rowStride: i32, groupShift: i32, x: usize): f32 {
  const w = codes + <usize>row * rowBytes(kind, rowStride);
  if (kind == F32) return dotF32(w, x, rowStride);
  if (kind == F16) return dotF16(w, x, rowStride);
  if (kind == BF16) return dotBf16(w, x, rowStride);
  const rowsScales = scales + ((<usize>row * rowScales(kind, rowStride, groupShift)) << 2);
  if (kind == INT8) return dotInt8(w, x, rowStride) * load<f32>(rowsScales);
  return dotInt4(w, x, rowStride, rowsScales, groupShift);
}
