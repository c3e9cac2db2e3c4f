/**
 * Cache pages on the CPU: where a page lies, and its elements as float32, four at a time.
 *
 * `kind` is a constant wherever these are called, so that each kernel holds the code of one storage type only.
 */

// @ts-ignore: decorator
@inline
export const F32: i32 = 0;
// @ts-ignore: decorator
@inline
export const F16: i32 = 1;
// @ts-ignore: decorator
@inline
export const BF16: i32 = 2;

// @ts-ignore: decorator
@inline
export const PAGE_TOKENS: i32 = 64;

/** A segment in the words behind a kernel's fixed arguments. */
@unmanaged
export class Segment {
  keys: usize;
  values: usize;
  firstPage: i32;
  pages: i32;
}

/** log2 of the bytes of an element. */
// @ts-ignore: decorator
@inline
export function shiftOf(kind: i32): i32 {
  return kind == F32 ? 2 : 1;
}

/** The segment that holds `page`, or 0. */
export function segmentOf(list: usize, count: i32, page: i32): usize {
  for (let i = 0; i < count; i++) {
    const segment = changetype<Segment>(list);
    if (page >= segment.firstPage && page < segment.firstPage + segment.pages) return list;
    list += offsetof<Segment>();
  }
  return 0;
}

/** Four elements. Halves: moved into place they are too small by 2^112; infinities and NaN keep their exponent of ones. */
// @ts-ignore: decorator
@inline
export function loadFour(kind: i32, from: usize): v128 {
  if (kind == F32) return v128.load(from);
  const bits = i32x4.shl(v128.load_ext<u16>(from), 16);
  if (kind == BF16) return bits;
  const moved = v128.and(i32x4.shr_s(bits, 3), i32x4.splat(0x8fffe000));
  const special = i32x4.eq(v128.and(bits, i32x4.splat(0x7c000000)), i32x4.splat(0x7c000000));
  const value = f32x4.mul(moved, f32x4.splat(5192296858534827628530496329220096.0));
  return v128.or(value, v128.and(special, i32x4.splat(0x7f800000)));
}

/** Stores one element, to nearest, ties to even. */
// @ts-ignore: decorator
@inline
export function storeOne(kind: i32, to: usize, x: f32): void {
  if (kind == F32) {
    store<f32>(to, x);
    return;
  }
  const bits = reinterpret<u32>(x);
  const magnitude = bits & 0x7fffffff;
  if (kind == BF16) {
    const rounded = magnitude > 0x7f800000 ? (bits >> 16) | 0x40 : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    store<u16>(to, <u16>rounded);
    return;
  }
  let half: u32;
  if (magnitude > 0x7f800000) half = 0x7e00;
  else if (magnitude >= 0x477ff000) half = 0x7c00; // 65520 and more round to infinity
  else if (magnitude < 0x38800000) {
    // Below 2^-14: in [0.5, 1) a float's last bit is 2^-24, the unit of subnormal halves.
    half = reinterpret<u32>(reinterpret<f32>(magnitude) + 0.5) - 0x3f000000;
  } else half = (magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  store<u16>(to, <u16>(half | ((bits >> 16) & 0x8000)));
}
