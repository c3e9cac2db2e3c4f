/** Halves of packed caches: to nearest even, larger than 65504 becomes 65504, smaller than 2⁻¹⁴ becomes +0. NaN must be gone. */

/** Four f32 to f16 bits in the low halves of the i32 lanes. */
// @ts-ignore: decorator
@inline
export function cacheHalf4(x: v128): v128 {
  const magnitude = v128.and(x, i32x4.splat(0x7fffffff));
  const sign = i32x4.shr_u(v128.xor(x, magnitude), 16);
  const odd = v128.and(i32x4.shr_u(magnitude, 13), i32x4.splat(1));
  const rebiased = i32x4.sub(magnitude, i32x4.splat((112 << 23) - 0xfff));
  const normal = i32x4.min_s(i32x4.shr_u(i32x4.add(rebiased, odd), 13), i32x4.splat(0x7bff));
  // Below the smallest normal half the steps do not shrink: from the last half step on, numbers round up to it.
  const rounded = i32x4.max_s(normal, i32x4.splat(0x0400));
  const isZero = i32x4.lt_s(magnitude, i32x4.splat(0x387fe000));
  return v128.andnot(v128.or(rounded, sign), isZero);
}

// @ts-ignore: decorator
@inline
export function cacheHalf(x: f32): u32 {
  return i32x4.extract_lane(cacheHalf4(f32x4.splat(x)), 0);
}

/** The half nearest to a number of float64: rounding to odd in between keeps it one rounding. */
export function cacheHalfOfF64(x: f64): u32 {
  let single = <f32>x;
  if (<f64>single != x) {
    let bits = reinterpret<u32>(single);
    if (abs<f64>(<f64>single) > abs<f64>(x)) bits -= 1;
    single = reinterpret<f32>(bits | 1);
  }
  return cacheHalf(single);
}

/** The number of such a half (never subnormal, infinite or NaN). */
// @ts-ignore: decorator
@inline
export function cacheHalfValue(h: u32): f32 {
  const magnitude = h & 0x7fff;
  return reinterpret<f32>(((h & 0x8000) << 16) | (magnitude == 0 ? 0 : (magnitude << 13) + (112 << 23)));
}

/** Four such halves, in the low halves of the i32 lanes. */
// @ts-ignore: decorator
@inline
export function cacheHalfValue4(h: v128): v128 {
  const magnitude = v128.and(h, i32x4.splat(0x7fff));
  const sign = i32x4.shl(v128.xor(h, magnitude), 16);
  const value = i32x4.add(i32x4.shl(magnitude, 13), i32x4.splat(112 << 23));
  return v128.or(v128.and(value, i32x4.gt_s(magnitude, i32x4.splat(0))), sign);
}
