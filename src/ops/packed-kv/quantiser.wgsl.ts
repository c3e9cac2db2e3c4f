/**
 * The quantiser in WGSL: what quantiser.reference.ts does, on machines whose division and square root are inexact and whose
 * compilers may fuse a product and a sum.
 *
 * `rounded(x)` keeps a product from being fused into the sum that follows: nothing can be known of a parameter's bits (a
 * uniform that is always zero). Roots and quotients come from the inexact ones, put right by comparisons of exact products.
 */
import { hasParams, type SideFormat } from "./format.js";
import { levelsOf } from "./levels.js";

/** Conversions of halves. A kernel's `Params` needs `zero: u32`, bound as `p`. */
export const halfWgsl = /* wgsl */ `
fn rounded(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) | p.zero); }

// NaN counts as 0; a half's range is not left.
fn sanitised(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  let magnitude = bits & 0x7fffffffu;
  let kept = select(min(magnitude, 0x477fe000u), 0u, magnitude > 0x7f800000u);
  return bitcast<f32>(kept | (bits & 0x80000000u));
}

// To nearest even; larger than 65504 becomes 65504, smaller than 2^-14 becomes +0.
fn halfOf(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let magnitude = min(bits & 0x7fffffffu, 0x477fe000u);
  // The last tie below the smallest normal half.
  if (magnitude < 0x387fe000u) { return 0u; }
  let half = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13u) & 1u)) >> 13u;
  return max(half, 0x400u) | ((bits >> 16u) & 0x8000u);
}

fn halfValue(half: u32) -> f32 {
  let magnitude = half & 0x7fffu;
  let bits = select((magnitude << 13u) + 0x38000000u, 0u, magnitude == 0u);
  return bitcast<f32>(bits | ((half & 0x8000u) << 16u));
}`;

/** Roots, quotients and zero points; needs `halfWgsl`. */
export const exactWgsl = /* wgsl */ `
const SMALLEST_BITS = 0x38800000u;  // 2^-14
const LAST_TIE = 0x387fe000u;       // of what rounds up to it

// The half nearest to the root of m ≥ 0.
fn halfOfRoot(m: f32) -> u32 {
  let tie = bitcast<f32>(LAST_TIE);
  if (m < tie * tie) { return 0u; }
  let half = clamp(halfOf(sqrt(m)), 0x400u, 0x7bffu);
  let bits = (half << 13u) + 0x38000000u;
  // Midpoints have twelve bits: their squares are exact.
  let below = bitcast<f32>(bits - 0x1000u);
  let above = bitcast<f32>(bits + 0x1000u);
  let isOdd = (half & 1u) == 1u;
  if (half > 0x400u && (m < below * below || (m == below * below && isOdd))) { return half - 1u; }
  if (half < 0x7bffu && (m > above * above || (m == above * above && isOdd))) { return half + 1u; }
  return half;
}

// The sign of n − c·d for a c of at most twelve bits and c·d near n.
fn signAgainst(n: f32, c: f32, d: f32) -> i32 {
  let high = bitcast<f32>(bitcast<u32>(d) & 0xfffff000u);
  let rest = n - c * high;
  let low = c * (d - high);
  return select(0, 1, rest > low) - select(0, 1, rest < low);
}

// The half nearest to n/d, n ≥ 0, d > 0.
fn halfOfQuotient(n: f32, d: f32) -> u32 {
  if (n <= 0.0) { return 0u; }      // and not 0/0
  let quotient = n / d;
  let tie = bitcast<f32>(LAST_TIE);
  if (quotient < 0.5 * tie) { return 0u; }
  if (quotient < 2.0 * tie && signAgainst(n, tie, d) < 0) { return 0u; }
  let half = max(halfOf(quotient), 0x400u);
  let bits = (half << 13u) + 0x38000000u;
  let isOdd = (half & 1u) == 1u;
  if (half > 0x400u) {
    let sign = signAgainst(n, bitcast<f32>(bits - 0x1000u), d);
    if (sign < 0 || (sign == 0 && isOdd)) { return half - 1u; }
  }
  if (half < 0x7bffu) {
    let sign = signAgainst(n, bitcast<f32>(bits + 0x1000u), d);
    if (sign > 0 || (sign == 0 && isOdd)) { return half + 1u; }
  }
  return half;
}

// x/d to nearest, d a half: the remainder of the inexact quotient is exact in two parts, and never half a step.
fn quotientByHalf(x: f32, d: f32) -> f32 {
  let q = x / d;
  let high = bitcast<f32>(bitcast<u32>(q) & 0xfffff000u);
  let rest = (x - high * d) - (q - high) * d;
  return q + rest / d;
}

// The whole number nearest to |l|/s, ties to even, at most 65536; s a half's bits.
fn zeroPoint(l: f32, s: u32) -> u32 {
  let bits = bitcast<u32>(l);
  let exponent = i32((bits >> 23u) & 0xffu);
  if (exponent == 0) { return 0u; }
  let dividend = 0x800000u | (bits & 0x7fffffu);
  let divisor = 0x400u | (s & 0x3ffu);
  let shift = (exponent - 150) - (i32((s >> 10u) & 31u) - 25);
  if (shift > 7) { return 65536u; }
  if (shift < -20) { return 0u; }
  let n = dividend << u32(max(shift, 0));
  let d = divisor << u32(max(-shift, 0));
  let floor = n / d;
  let twice = 2u * (n - floor * d);
  return min(floor + select(0u, 1u, twice > d || (twice == d && (floor & 1u) == 1u)), 65536u);
}`;

const wgslFloat = (x: number) => `bitcast<f32>(${new Uint32Array(Float32Array.of(x).buffer)[0]}u)`;

/** Functions `parameters`, `code` (or `levelCode`, `levelOf`) of one side, their names ending in `suffix`. */
export function sideWgsl(side: SideFormat, suffix: string): string {
  if (!hasParams(side)) return levelsWgsl(side, suffix);
  const most = 2 ** side.bits - 1;
  const clip = Math.fround(side.clip);
  const scale = (range: string) => `max(halfOf(rounded(${range}) * ${wgslFloat(1 / most)}), 0x400u)`;
  const body =
    side.quantiser === "zp"
      ? /* wgsl */ `
  let low = rounded(lo * ${wgslFloat(clip)});
  let high = rounded(hi * ${wgslFloat(clip)});
  let s = ${scale("high - low")};
  let offset = halfOf(f32(zeroPoint(low, s)) * halfValue(s));
  return vec2u(s, offset | select(0u, (bitcast<u32>(low) >> 16u) & 0x8000u, offset != 0u));`
      : /* wgsl */ `
  let range = rounded(hi - lo);
  let cut = rounded(rounded(range * 0.5) * ${wgslFloat(1 - clip)});
  return vec2u(${scale(`range * ${wgslFloat(clip)}`)}, halfOf(lo + cut));`;
  const counted = Array.from({ length: most }, (_, i) => `select(0u, 1u, delta >= ${i + 0.5} * s)`).join(" + ");
  return /* wgsl */ `
fn parameters${suffix}(lo: f32, hi: f32) -> vec2u {${body}
}
fn code${suffix}(x: f32, s: f32, o: f32) -> u32 {
  let delta = x - o;
${
  side.bits <= 3
    ? `  return ${counted};`
    : /* wgsl */ `
  let q = clamp(floor(delta / s + 0.5), 0.0, ${most}.0);
  let up = select(0.0, 1.0, q < ${most}.0 && delta >= (q + 0.5) * s);
  let down = select(0.0, 1.0, q > 0.0 && delta < (q - 0.5) * s);
  return u32(q + up - down);`
}
}`;
}

function levelsWgsl(side: SideFormat, suffix: string): string {
  const { levels, thresholds } = levelsOf(side);
  const tests = Array.from(thresholds, (t) => `select(0u, 1u, x >= rounded(${wgslFloat(t)} * rms))`).join(" + ");
  const list = Array.from(levels, wgslFloat).join(", ");
  return /* wgsl */ `
fn levelCode${suffix}(x: f32, rms: f32) -> u32 { return ${tests}; }
fn levelOf${suffix}(code: u32) -> f32 {
  var levels = array<f32, ${levels.length}>(${list});
  return levels[code];
}`;
}
