/**
 * Brings a token into the order and number format in which the one-row products want it, padded with zeros to `rowStride`
 * columns.
 */
import { largestMagnitude, loadPadded } from "./tokens.inline.as";
import { BF16, F16, F32, INT4 } from "./weights/weights.inline.as";

/** Natural order; for columns that are no multiple of 32. */
function copyPadded(row: usize, to: usize, columns: i32, rowStride: i32): void {
  for (let k = 0; k < rowStride; k += 4) {
    v128.store(to, loadPadded(row, k, columns));
    to += 16;
  }
}

/** Eight columns become the even ones, then the odd ones, times `factor`. */
function splitEvenOdd(row: usize, to: usize, columns: i32, rowStride: i32, factor: f32): void {
  for (let k = 0; k < rowStride; k += 8) {
    const v0 = f32x4.mul(loadPadded(row, k, columns), f32x4.splat(factor));
    const v1 = f32x4.mul(loadPadded(row, k + 4, columns), f32x4.splat(factor));
    v128.store(to, v128.shuffle<i32>(v0, v1, 0, 2, 4, 6));
    v128.store(to, v128.shuffle<i32>(v0, v1, 1, 3, 5, 7), 16);
    to += 32;
  }
}

// @ts-ignore: decorator
@inline
function powerOfTwo(exponent: i32): f32 {
  return reinterpret<f32>((exponent + 127) << 23);
}

/**
 * Enlarged by 2^112 to make up for `movedHalf`, or by as much as the largest number bears; the rest comes as the factor.
 * Powers of two, so nothing is rounded.
 */
function enlarge(row: usize, to: usize, columns: i32, rowStride: i32): f32 {
  const biased = (reinterpret<i32>(largestMagnitude(row, columns)) >> 23) & 255;
  const exponent = min(112, 253 - biased); // |x| · 2^exponent < 2^127
  splitEvenOdd(row, to, columns, rowStride, powerOfTwo(exponent));
  return powerOfTwo(112 - exponent);
}

/** Below this the largest number of a token counts as zero: 32767 / it would overflow or lose its precision. */
// @ts-ignore: decorator
@inline
const SMALLEST_STEP: f32 = 1e-30;

/** 1.5 · 2²³: added to a number below 2²², it leaves the nearest whole number in the low bits of the fraction. */
// @ts-ignore: decorator
@inline
const ROUNDER: f32 = 12582912;

// @ts-ignore: decorator
@inline
function rounded(v: v128, inverse: f32): v128 {
  const moved = f32x4.add(f32x4.mul(v, f32x4.splat(inverse)), f32x4.splat(ROUNDER));
  return i32x4.sub(moved, i32x4.splat(reinterpret<i32>(ROUNDER)));
}

/** Columns k … k + 7 as 16-bit numbers. */
// @ts-ignore: decorator
@inline
function quantisedEight(row: usize, k: i32, columns: i32, inverse: f32): v128 {
  if (k + 8 <= columns) {
    const at = row + ((<usize>k) << 2);
    return i16x8.narrow_i32x4_s(rounded(v128.load(at), inverse), rounded(v128.load(at, 16), inverse));
  }
  const low = rounded(loadPadded(row, k, columns), inverse);
  return i16x8.narrow_i32x4_s(low, rounded(loadPadded(row, k + 4, columns), inverse));
}

/** 16-bit numbers in natural order; for int4, behind them for each 32 columns four lane sums of −8 times them. */
// @ts-ignore: decorator
@inline
function quantise(row: usize, to: usize, columns: i32, rowStride: i32, withOffsets: bool): f32 {
  const largest = largestMagnitude(row, columns);
  const isTiny = largest < SMALLEST_STEP;
  const inverse: f32 = isTiny ? 0 : <f32>32767 / largest;
  const minusEight = i16x8.splat(-8);
  let offset = to + ((<usize>rowStride) << 1);
  for (let block = 0; block < rowStride; block += 32) {
    let sum = i32x4.splat(0);
    for (let k = block; k < block + 32; k += 8) {
      const q = quantisedEight(row, k, columns, inverse);
      v128.store(to, q);
      if (withOffsets) sum = i32x4.add(sum, i32x4.dot_i16x8_s(q, minusEight));
      to += 16;
    }
    if (!withOffsets) continue;
    v128.store(offset, sum);
    offset += 16;
  }
  return isTiny ? 0 : largest / 32767;
}

/** Returns what the products of the token must be multiplied with. */
// @ts-ignore: decorator
@inline
export function prepareToken(kind: i32, row: usize, to: usize, columns: i32, rowStride: i32): f32 {
  if (kind == F16) return enlarge(row, to, columns, rowStride);
  if (kind == F32) copyPadded(row, to, columns, rowStride);
  else if (kind == BF16) splitEvenOdd(row, to, columns, rowStride, 1);
  else return quantise(row, to, columns, rowStride, kind == INT4);
  return 1;
}

/** Prepares `count` tokens (rows of `columns` f32) to `to`, `bytes` apart, and their factors behind them. */
// @ts-ignore: decorator
@inline
export function prepareTokens(
  kind: i32, x: usize, count: i32, columns: i32, rowStride: i32, bytes: usize, to: usize,
): void {
  const factors = to + <usize>count * bytes;
  for (let t: usize = 0; t < <usize>count; t++) {
    const row = x + ((t * <usize>columns) << 2);
    store<f32>(factors + (t << 2), prepareToken(kind, row, to + t * bytes, columns, rowStride));
  }
}
