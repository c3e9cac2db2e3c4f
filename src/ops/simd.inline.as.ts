/**
 * Lane helpers shared by the kernels. All of them vanish into their callers.
 *
 * Precision  f16 and bf16 conversions are exact, or round to nearest even; exp errs by less than one unit in the last place.
 * Numbers    Wasm cannot flush subnormal numbers, so the conversions avoid them where hardware is slow with them.
 */

/**
 * a·b + c in each f32 lane.
 *
 * The relaxed build rounds once on hardware with fused multiply-add; the baseline build rounds twice everywhere. The
 * condition is a compile-time constant, so that each build holds one of the two forms only.
 */
// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** Sum of the four f32 lanes, as (v0 + v2) + (v1 + v3). */
// @ts-ignore: decorator
@inline
export function sumF32(v: v128): f32 {
  const pairs = f32x4.add(v, v128.shuffle<i32>(v, v, 2, 3, 2, 3));
  return f32x4.extract_lane(pairs, 0) + f32x4.extract_lane(pairs, 1);
}

/** The sums over the lanes of four vectors, side by side, each in the order of `sumF32`. */
// @ts-ignore: decorator
@inline
export function sumFour(v0: v128, v1: v128, v2: v128, v3: v128): v128 {
  // Lanes 0 and 2, 1 and 3 of two vectors each.
  const low01 = f32x4.add(v128.shuffle<i32>(v0, v1, 0, 1, 4, 5), v128.shuffle<i32>(v0, v1, 2, 3, 6, 7));
  const low23 = f32x4.add(v128.shuffle<i32>(v2, v3, 0, 1, 4, 5), v128.shuffle<i32>(v2, v3, 2, 3, 6, 7));
  return f32x4.add(v128.shuffle<i32>(low01, low23, 0, 2, 4, 6), v128.shuffle<i32>(low01, low23, 1, 3, 5, 7));
}

/** Sum of the four i32 lanes. */
// @ts-ignore: decorator
@inline
export function sumI32(v: v128): i32 {
  const pairs = i32x4.add(v, v128.shuffle<i32>(v, v, 2, 3, 2, 3));
  return i32x4.extract_lane(pairs, 0) + i32x4.extract_lane(pairs, 1);
}

/** Largest of the four f32 lanes; NaN if one is NaN. */
// @ts-ignore: decorator
@inline
export function maxF32(v: v128): f32 {
  const pairs = f32x4.max(v, v128.shuffle<i32>(v, v, 2, 3, 2, 3));
  return max<f32>(f32x4.extract_lane(pairs, 0), f32x4.extract_lane(pairs, 1));
}

// —— tails

/** The first `count` (1 … 4; more counts as 4) f32 numbers from `p`, zeros behind them. Reads nothing else. */
// @ts-ignore: decorator
@inline
export function load4(p: usize, count: i32): v128 {
  if (count >= 4) return v128.load(p);
  if (count == 3) return v128.load32_lane(p, v128.load64_zero(p), 2, 8);
  if (count == 2) return v128.load64_zero(p);
  return v128.load32_zero(p);
}

/** Stores the first `count` (1 … 4; more counts as 4) f32 lanes. Writes nothing else. */
// @ts-ignore: decorator
@inline
export function store4(p: usize, v: v128, count: i32): void {
  if (count >= 4) {
    v128.store(p, v);
    return;
  }
  v128.store32_lane(p, v, 0);
  if (count >= 2) v128.store32_lane(p, v, 1, 4);
  if (count == 3) v128.store32_lane(p, v, 2, 8);
}

// —— exponential and its family

/**
 * exp(x) in each lane, within about one unit in the last place for x in [−87, 88]; inputs outside are clamped, so that the
 * exponent field never overflows: exp(−∞) is 1.6e-38, not 0 (mask by skipping, or select zero afterwards). NaN stays NaN.
 *
 * x = n·ln 2 + r with |r| ≤ ln 2 / 2; ln 2 is split in two so that n·ln2High is exact; exp(r) = 1 + r + r²·P(r), P of
 * degree 4 fitted to the relative error (3e-9).
 */
// @ts-ignore: decorator
@inline
export function exp(x: v128): v128 {
  // The pseudo-minimum and -maximum are one instruction each, and answer their first operand for NaN.
  const clamped = f32x4.pmax(f32x4.pmin(x, f32x4.splat(88)), f32x4.splat(-87));
  // 1.5 · 2²³ rounds to a whole number, and leaves it in the low bits.
  const moved = f32x4.add(f32x4.mul(clamped, f32x4.splat(1.44269504)), f32x4.splat(12582912));
  const n = f32x4.sub(moved, f32x4.splat(12582912));
  const high = f32x4.sub(clamped, f32x4.mul(n, f32x4.splat(0.693359375)));
  const r = f32x4.sub(high, f32x4.mul(n, f32x4.splat(-2.12194440e-4)));
  let p = f32x4.splat(0.001381454007);
  p = madd(p, r, f32x4.splat(0.008368745113));
  p = madd(p, r, f32x4.splat(0.0416683908));
  p = madd(p, r, f32x4.splat(0.166665204));
  p = madd(p, r, f32x4.splat(0.4999999343));
  p = f32x4.add(madd(p, f32x4.mul(r, r), r), f32x4.splat(1));
  // The bits of a NaN may have been moved into a number: n brings it back.
  return f32x4.add(i32x4.add(p, i32x4.shl(moved, 23)), f32x4.mul(n, f32x4.splat(0)));
}

/** `exp` of one number: the same instructions, so that a tail has the bits of the vector loop in the relaxed build too. */
// @ts-ignore: decorator
@inline
export function expScalar(x: f32): f32 {
  return f32x4.extract_lane(exp(f32x4.splat(x)), 0);
}

/** Natural logarithm of a positive number: exponent, and a series of atanh on the mantissa in [√½, √2). */
export function logScalar(x: f32): f32 {
  let bits = reinterpret<i32>(x);
  let exponent = (bits >> 23) - 127;
  let mantissa = reinterpret<f32>((bits & 0x007fffff) | 0x3f800000);
  if (mantissa > 1.41421356) {
    mantissa *= 0.5;
    exponent += 1;
  }
  const z = (mantissa - 1) / (mantissa + 1);
  const zz = z * z;
  const series = z * (2 + zz * (0.666666667 + zz * (0.4 + zz * (0.285714286 + zz * 0.222222222))));
  return series + <f32>exponent * <f32>0.69314718;
}

/** 1 / (1 + exp(−x)) in each lane. */
// @ts-ignore: decorator
@inline
export function sigmoid(x: v128): v128 {
  return f32x4.div(f32x4.splat(1), f32x4.add(f32x4.splat(1), exp(f32x4.neg(x))));
}

/** x · sigmoid(x) in each lane. */
// @ts-ignore: decorator
@inline
export function silu(x: v128): v128 {
  return f32x4.div(x, f32x4.add(f32x4.splat(1), exp(f32x4.neg(x))));
}

// —— bf16: the upper half of an f32

/** bf16 bits (the low 16 of `h`) to f32. */
// @ts-ignore: decorator
@inline
export function bf16ToF32(h: u32): f32 {
  return reinterpret<f32>(h << 16);
}

/** Elements 0 … 3 of eight bf16 numbers as f32. */
// @ts-ignore: decorator
@inline
export function bf16Low(v: v128): v128 {
  return v128.shuffle<i16>(i32x4.splat(0), v, 0, 8, 1, 9, 2, 10, 3, 11);
}

/** Elements 4 … 7 of eight bf16 numbers as f32. */
// @ts-ignore: decorator
@inline
export function bf16High(v: v128): v128 {
  return v128.shuffle<i16>(i32x4.splat(0), v, 4, 12, 5, 13, 6, 14, 7, 15);
}

/** f32 to bf16 bits, to nearest even; NaN stays a (quiet) NaN. */
// @ts-ignore: decorator
@inline
export function f32ToBf16(x: f32): u32 {
  const bits = reinterpret<u32>(x);
  // Rounding up could carry a NaN over into an infinity or a zero.
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >> 16) | 0x40;
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

/** Four f32 to bf16 bits in the low halves of the i32 lanes (the upper halves are 0). */
// @ts-ignore: decorator
@inline
export function f32ToBf16x4(x: v128): v128 {
  const odd = v128.and(i32x4.shr_u(x, 16), i32x4.splat(1));
  const rounded = i32x4.shr_u(i32x4.add(i32x4.add(x, i32x4.splat(0x7fff)), odd), 16);
  const quiet = v128.or(i32x4.shr_u(x, 16), i32x4.splat(0x40));
  return v128.bitselect(quiet, rounded, f32x4.ne(x, x));
}

// —— f16

/** f16 bits (the low 16 of `h`) to f32, exact: subnormals, infinities and NaN included. */
// @ts-ignore: decorator
@inline
export function f16ToF32(h: u32): f32 {
  return f32x4.extract_lane(f16ToF32x4(i32x4.splat(h)), 0);
}

/**
 * Four f16 numbers, in the low halves of the i32 lanes (the upper halves must be 0), to f32. Exact.
 *
 * Exponent and fraction move up 13 bits and the exponent is rebiased by 112. A subnormal half has no hidden bit: its lanes
 * take the exponent 2⁻¹⁴ and lose the hidden bit by a subtraction, so that no subnormal f32 appears on the way.
 */
// @ts-ignore: decorator
@inline
export function f16ToF32x4(h: v128): v128 {
  const magnitude = v128.and(h, i32x4.splat(0x7fff));
  const sign = i32x4.shl(v128.xor(h, magnitude), 16);
  const normal = i32x4.add(i32x4.shl(magnitude, 13), i32x4.splat(112 << 23));
  const small = f32x4.sub(i32x4.add(normal, i32x4.splat(1 << 23)), i32x4.splat(113 << 23));
  // Exponent 31 stands for infinity and NaN: its rebiased form 143 becomes 255.
  const special = v128.and(i32x4.gt_s(magnitude, i32x4.splat(0x7bff)), i32x4.splat(112 << 23));
  const isSmall = i32x4.lt_s(magnitude, i32x4.splat(0x0400));
  return v128.or(v128.bitselect(small, i32x4.add(normal, special), isSmall), sign);
}

/** Elements 0 … 3 of eight f16 numbers as f32. */
// @ts-ignore: decorator
@inline
export function f16Low(v: v128): v128 {
  return f16ToF32x4(i32x4.extend_low_i16x8_u(v));
}

/** Elements 4 … 7 of eight f16 numbers as f32. */
// @ts-ignore: decorator
@inline
export function f16High(v: v128): v128 {
  return f16ToF32x4(i32x4.extend_high_i16x8_u(v));
}

/** f32 to f16 bits, to nearest even; too large becomes infinity, NaN stays a NaN. */
// @ts-ignore: decorator
@inline
export function f32ToF16(x: f32): u32 {
  return i32x4.extract_lane(f32ToF16x4(f32x4.splat(x)), 0);
}

/**
 * Four f32 to f16 bits in the low halves of the i32 lanes (the upper halves are 0).
 *
 * From 2⁻¹⁴ on the hardware's rounding is imitated by adding just under half a unit, or just half if the result would be
 * odd. Below, adding 0.5 leaves the bits of the subnormal half at the end of the fraction, rounded by the addition itself.
 */
// @ts-ignore: decorator
@inline
export function f32ToF16x4(x: v128): v128 {
  const magnitude = v128.and(x, i32x4.splat(0x7fffffff));
  const sign = i32x4.shr_u(v128.xor(x, magnitude), 16);
  const odd = v128.and(i32x4.shr_u(magnitude, 13), i32x4.splat(1));
  const rebiased = i32x4.sub(magnitude, i32x4.splat((112 << 23) - 0xfff));
  // At 2¹⁶ and above the carry would run into the sign.
  const normal = i32x4.min_s(i32x4.shr_u(i32x4.add(rebiased, odd), 13), i32x4.splat(0x7c00));
  const small = i32x4.sub(f32x4.add(magnitude, f32x4.splat(0.5)), i32x4.splat(126 << 23));
  const isSmall = i32x4.lt_s(magnitude, i32x4.splat(113 << 23));
  const finite = v128.bitselect(small, normal, isSmall);
  const isNan = i32x4.gt_s(magnitude, i32x4.splat(0x7f800000));
  return v128.or(v128.bitselect(i32x4.splat(0x7e00), finite, isNan), sign);
}

/** Joins the low halves of eight i32 lanes to eight 16-bit numbers: what f32ToF16x4 and f32ToBf16x4 return. */
// @ts-ignore: decorator
@inline
export function pack16(low: v128, high: v128): v128 {
  return v128.shuffle<i16>(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
}

/** Stores four 16-bit numbers from the low halves of the i32 lanes: 8 bytes. */
// @ts-ignore: decorator
@inline
export function store16x4(p: usize, v: v128): void {
  v128.store64_lane(p, pack16(v, v), 0);
}

// —— dot products of contiguous numbers, summed in one order whatever the build

/** Σ a[i]·b[i] over `count` f32 numbers: four sums of four lanes, added pairwise; the tail joins the first. */
// @ts-ignore: decorator
@inline
export function dotF32(a: usize, b: usize, count: i32): f32 {
  let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
  let left = count;
  while (left >= 16) {
    s0 = madd(v128.load(a), v128.load(b), s0);
    s1 = madd(v128.load(a, 16), v128.load(b, 16), s1);
    s2 = madd(v128.load(a, 32), v128.load(b, 32), s2);
    s3 = madd(v128.load(a, 48), v128.load(b, 48), s3);
    a += 64;
    b += 64;
    left -= 16;
  }
  while (left > 0) {
    s0 = madd(load4(a, left), load4(b, left), s0);
    a += 16;
    b += 16;
    left -= 4;
  }
  return sumF32(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
}

/** Σ w[i]·x[i], w bf16, x f32. */
// @ts-ignore: decorator
@inline
export function dotBf16(w: usize, x: usize, count: i32): f32 {
  let s0 = f32x4.splat(0), s1 = s0;
  let left = count;
  while (left >= 8) {
    const v = v128.load(w);
    s0 = madd(bf16Low(v), v128.load(x), s0);
    s1 = madd(bf16High(v), v128.load(x, 16), s1);
    w += 16;
    x += 32;
    left -= 8;
  }
  let sum = sumF32(f32x4.add(s0, s1));
  while (left > 0) {
    sum += bf16ToF32(load<u16>(w)) * load<f32>(x);
    w += 2;
    x += 4;
    left -= 1;
  }
  return sum;
}

/** Σ w[i]·x[i], w f16, x f32. */
// @ts-ignore: decorator
@inline
export function dotF16(w: usize, x: usize, count: i32): f32 {
  let s0 = f32x4.splat(0), s1 = s0;
  let left = count;
  while (left >= 8) {
    const v = v128.load(w);
    s0 = madd(f16Low(v), v128.load(x), s0);
    s1 = madd(f16High(v), v128.load(x, 16), s1);
    w += 16;
    x += 32;
    left -= 8;
  }
  let sum = sumF32(f32x4.add(s0, s1));
  while (left > 0) {
    sum += f16ToF32(load<u16>(w)) * load<f32>(x);
    w += 2;
    x += 4;
    left -= 1;
  }
  return sum;
}
