/**
 * Weights of each kind as halves in the workgroup memory of a matrix-unit tile (./matrix-tile.wgsl.ts).
 *
 * A *unit* is what a thread loads at once, as it is stored; it waits in registers while the tile before it is multiplied, and
 * is turned into octets of halves when it is written to workgroup memory. A decoded load would be waited for at once.
 *
 *   f32        8 columns, two vectors    rounded
 *   f16        8 columns                 as they are; the zero that they are mixed with is not known to a compiler, for the
 *                                        driver of an H100 puts off a load that goes straight to workgroup memory until it
 *                                        is stored, and then waits for it (4096³: 714 µs, 561 with the zero)
 *   bf16       8 columns                 rounded
 *   int8       16 columns                the codes, exact in halves; the row's scale multiplies the sum
 *   int4       32 columns                code · scale; the scale as a half, times SCALE_UNIT so that small ones keep their bits
 *
 * Integers become halves without a conversion: or-ing n < 1024 into the bits of 1024 gives the half 1024 + n, and subtracting
 * 1024 is exact. With int8, columns 1 and 2 of each four change places (a word's even and odd bytes), here and in x.
 *
 * Our choice weights of f32 and bf16 lie within ±65504, where halves end, and scales of int4 within 65504 / 8 / SCALE_UNIT =
 *            127: those of a network do.
 */
import type { WeightKind } from "./weight-matrix.js";

export interface StagedWeights {
  /** Octets of a unit. */
  readonly octets: 1 | 2 | 4;
  /** 16-byte vectors of a unit. */
  readonly vectors: 1 | 2;
  /** The unit's scale is needed while it is staged. */
  readonly scaled: boolean;
  /** Columns 1 and 2 of each four change places. */
  readonly swaps: boolean;
  /** `fn halvesOf(a: vec4u, b: vec4u, scale: f32, octet: u32) -> vec4u`; b: the second vector, octet: of the unit, a constant. */
  readonly decode: string;
  /** `scaledSum` changes nothing. */
  readonly sumsAreResults: boolean;
  /** `fn scaledSum(z: f32, scale: f32) -> f32`, with the row's first scale. */
  readonly sum: string;
}

const unscaled = /* wgsl */ `
fn scaledSum(z: f32, scale: f32) -> f32 { return z; }`;

export const stagedWeights: Record<WeightKind, StagedWeights> = {
  f32: {
    octets: 1,
    vectors: 2,
    scaled: false,
    swaps: false,
    sumsAreResults: true,
    decode: /* wgsl */ `
fn halvesOf(a: vec4u, b: vec4u, scale: f32, octet: u32) -> vec4u {
  let low = bitcast<vec4f>(a);
  let high = bitcast<vec4f>(b);
  return vec4u(pack2x16float(low.xy), pack2x16float(low.zw), pack2x16float(high.xy), pack2x16float(high.zw));
}`,
    sum: unscaled,
  },
  f16: {
    octets: 1,
    vectors: 1,
    scaled: false,
    swaps: false,
    sumsAreResults: true,
    decode: /* wgsl */ `
fn halvesOf(a: vec4u, b: vec4u, scale: f32, octet: u32) -> vec4u { return a ^ vec4u(p.inputs >> 31u); }`,
    sum: unscaled,
  },
  bf16: {
    octets: 1,
    vectors: 1,
    scaled: false,
    swaps: false,
    sumsAreResults: true,
    decode: /* wgsl */ `
fn halvesOf(a: vec4u, b: vec4u, scale: f32, octet: u32) -> vec4u {
  let even = bitcast<vec4f>(a << vec4u(16u));
  let odd = bitcast<vec4f>(a & vec4u(0xffff0000u));
  return vec4u(
    pack2x16float(vec2f(even.x, odd.x)), pack2x16float(vec2f(even.y, odd.y)),
    pack2x16float(vec2f(even.z, odd.z)), pack2x16float(vec2f(even.w, odd.w)),
  );
}`,
    sum: unscaled,
  },
  int8: {
    octets: 2,
    vectors: 1,
    scaled: false,
    swaps: true,
    sumsAreResults: false,
    decode: /* wgsl */ `
fn halvesOf(a: vec4u, b: vec4u, scale: f32, octet: u32) -> vec4u {
  let words = select(a.xy, a.zw, octet == 1u);
  // 0x6480 ^ byte: the half 1024 + 128 + code.
  let even = (words & vec2u(0x00ff00ffu)) ^ vec2u(0x64806480u);
  let odd = ((words >> vec2u(8u)) & vec2u(0x00ff00ffu)) ^ vec2u(0x64806480u);
  let first = bitcast<vec2u>(bitcast<vec4h>(vec2u(even.x, odd.x)) - vec4h(1152.0h));
  let second = bitcast<vec2u>(bitcast<vec4h>(vec2u(even.y, odd.y)) - vec4h(1152.0h));
  return vec4u(first, second);
}`,
    sum: /* wgsl */ `
fn scaledSum(z: f32, scale: f32) -> f32 { return z * scale; }`,
  },
  int4: {
    octets: 4,
    vectors: 1,
    scaled: true,
    swaps: false,
    sumsAreResults: false,
    // Nibble j of the words' halves is octet j: see weight-matrix.ts.
    decode: /* wgsl */ `
const SCALE_UNIT = 64.0;
fn halvesOf(a: vec4u, b: vec4u, scale: f32, octet: u32) -> vec4u {
  let factor = vec4h(f16(min(scale * SCALE_UNIT, 8188.0)));
  let biased = ((a >> vec4u(4u * octet)) & vec4u(0x000f000fu)) | vec4u(0x64006400u);
  let first = bitcast<vec2u>((bitcast<vec4h>(biased.xy) - vec4h(1032.0h)) * factor);
  let second = bitcast<vec2u>((bitcast<vec4h>(biased.zw) - vec4h(1032.0h)) * factor);
  return vec4u(first, second);
}`,
    sum: /* wgsl */ `
fn scaledSum(z: f32, scale: f32) -> f32 { return z * (1.0 / SCALE_UNIT); }`,
  },
};
