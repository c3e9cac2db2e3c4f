/**
 * Brings tokens into the order and number format in which the one-row products want them, once a product. Tasks are tokens.
 *
 * All are padded with zeros to `rowStride` columns. `factors` gets for each token what the product must be multiplied with.
 */
import { largestMagnitude, loadPadded } from "./tokens.inline.as";

@unmanaged
class PrepareArgs {
  /** [T, columns] f32. */
  x: usize;
  prepared: usize;
  factors: usize;
  columns: i32;
  rowStride: i32;
  /** Bytes from one prepared token to the next. */
  preparedBytes: i32;
}

// @ts-ignore: decorator
@inline
function source(p: PrepareArgs, token: i32): usize {
  return p.x + <usize>token * ((<usize>p.columns) << 2);
}

// @ts-ignore: decorator
@inline
function target(p: PrepareArgs, token: i32): usize {
  return p.prepared + <usize>token * <usize>p.preparedBytes;
}

/** Natural order; for columns that are no multiple of 32. */
export function matmulPrepareF32(args: usize, begin: i32, end: i32, worker: i32): void {
  const p = changetype<PrepareArgs>(args);
  for (let token = begin; token < end; token++) {
    const row = source(p, token);
    let to = target(p, token);
    for (let k = 0; k < p.rowStride; k += 4) {
      v128.store(to, loadPadded(row, k, p.columns));
      to += 16;
    }
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

export function matmulPrepareBf16(args: usize, begin: i32, end: i32, worker: i32): void {
  const p = changetype<PrepareArgs>(args);
  for (let token = begin; token < end; token++) {
    splitEvenOdd(source(p, token), target(p, token), p.columns, p.rowStride, 1);
    store<f32>(p.factors + ((<usize>token) << 2), 1);
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
export function matmulPrepareF16(args: usize, begin: i32, end: i32, worker: i32): void {
  const p = changetype<PrepareArgs>(args);
  for (let token = begin; token < end; token++) {
    const row = source(p, token);
    const biased = (reinterpret<i32>(largestMagnitude(row, p.columns)) >> 23) & 255;
    const exponent = min(112, 253 - biased); // |x| · 2^exponent < 2^127
    splitEvenOdd(row, target(p, token), p.columns, p.rowStride, powerOfTwo(exponent));
    store<f32>(p.factors + ((<usize>token) << 2), powerOfTwo(112 - exponent));
  }
}

/** Below this the largest number of a token counts as zero: 32767 / it would overflow or lose its precision. */
const SMALLEST_STEP: f32 = 1e-30;

/** Stores the factor (the step of the 16-bit numbers) and returns its inverse. */
function quantisationOf(p: PrepareArgs, token: i32): f32 {
  const largest = largestMagnitude(source(p, token), p.columns);
  const isTiny = largest < SMALLEST_STEP;
  store<f32>(p.factors + ((<usize>token) << 2), isTiny ? 0 : largest / 32767);
  return isTiny ? 0 : <f32>32767 / largest;
}

// @ts-ignore: decorator
@inline
function quantised(row: usize, k: i32, columns: i32, inverse: f32): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(loadPadded(row, k, columns), f32x4.splat(inverse))));
}

/** 16-bit numbers; sixteen columns become the eight even ones, then the odd ones. */
export function matmulPrepareInt8(args: usize, begin: i32, end: i32, worker: i32): void {
  const p = changetype<PrepareArgs>(args);
  for (let token = begin; token < end; token++) {
    const row = source(p, token);
    const inverse = quantisationOf(p, token);
    let to = target(p, token);
    for (let k = 0; k < p.rowStride; k += 16) {
      const q0 = quantised(row, k, p.columns, inverse);
      const q1 = quantised(row, k + 4, p.columns, inverse);
      const q2 = quantised(row, k + 8, p.columns, inverse);
      const q3 = quantised(row, k + 12, p.columns, inverse);
      const even = v128.shuffle<i32>(q0, q1, 0, 2, 4, 6);
      const odd = v128.shuffle<i32>(q0, q1, 1, 3, 5, 7);
      v128.store(to, i16x8.narrow_i32x4_s(even, v128.shuffle<i32>(q2, q3, 0, 2, 4, 6)));
      v128.store(to, i16x8.narrow_i32x4_s(odd, v128.shuffle<i32>(q2, q3, 1, 3, 5, 7)), 16);
      to += 32;
    }
  }
}

/** 16-bit numbers in natural order, then for each 32 columns four lane sums of −8 times them. */
export function matmulPrepareInt4(args: usize, begin: i32, end: i32, worker: i32): void {
  const p = changetype<PrepareArgs>(args);
  const minusEight = i16x8.splat(-8);
  for (let token = begin; token < end; token++) {
    const row = source(p, token);
    const inverse = quantisationOf(p, token);
    let to = target(p, token);
    let offset = to + ((<usize>p.rowStride) << 1);
    for (let block = 0; block < p.rowStride; block += 32) {
      let sum = i32x4.splat(0);
      for (let k = block; k < block + 32; k += 8) {
        const low = quantised(row, k, p.columns, inverse);
        const q = i16x8.narrow_i32x4_s(low, quantised(row, k + 4, p.columns, inverse));
        v128.store(to, q);
        sum = i32x4.add(sum, i32x4.dot_i16x8_s(q, minusEight));
        to += 16;
      }
      v128.store(offset, sum);
      offset += 16;
    }
  }
}
