/**
 * The two 16-bit floating-point formats and float32, as bit patterns.
 *
 *   f16   1 sign, 5 exponent (bias 15), 10 fraction      largest 65504, smallest normal 2⁻¹⁴, subnormals from 2⁻²⁴
 *   bf16  1 sign, 8 exponent (bias 127), 7 fraction      the upper half of a float32
 *
 * Precision widening is exact, subnormals, infinities and NaN payloads included. Narrowing rounds to nearest, ties to
 *           even, overflows to infinity and keeps a NaN a NaN (quiet, with the upper part of its payload).
 * Source    IEEE 754-2019, binary16 and binary32.
 * Our choice all arithmetic is on integers: a float32 that passes through a number may change a NaN's payload.
 */

/** Bits of the float32 for each f16 code; 256 KiB, made on first use. */
let f16Table: Uint32Array | undefined;

/** Widens f16 codes. `out`, when given, holds at least as many elements. */
export function f16ToF32(codes: Uint16Array, out: Float32Array = new Float32Array(codes.length)): Float32Array {
  checkLength("f16ToF32", codes.length, out.length);
  f16Table ??= Uint32Array.from({ length: 0x10000 }, (_, code) => f16BitsToF32Bits(code));
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let at = 0; at < codes.length; at++) bits[at] = f16Table[codes[at] as number] as number; // both in bounds
  return out;
}

/** Narrows to f16 codes. */
export function f32ToF16(values: Float32Array, out: Uint16Array = new Uint16Array(values.length)): Uint16Array {
  checkLength("f32ToF16", values.length, out.length);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let at = 0; at < bits.length; at++) out[at] = f32BitsToF16Bits(bits[at] as number); // in bounds
  return out;
}

/** Widens bf16 codes. */
export function bf16ToF32(codes: Uint16Array, out: Float32Array = new Float32Array(codes.length)): Float32Array {
  checkLength("bf16ToF32", codes.length, out.length);
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let at = 0; at < codes.length; at++) bits[at] = (codes[at] as number) << 16; // in bounds
  return out;
}

/** Narrows to bf16 codes. */
export function f32ToBf16(values: Float32Array, out: Uint16Array = new Uint16Array(values.length)): Uint16Array {
  checkLength("f32ToBf16", values.length, out.length);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let at = 0; at < bits.length; at++) out[at] = f32BitsToBf16Bits(bits[at] as number); // in bounds
  return out;
}

/** One f16 code as the bits of a float32. */
export function f16BitsToF32Bits(code: number): number {
  const sign = (code & 0x8000) << 16;
  const exponent = (code >>> 10) & 0x1f;
  const fraction = code & 0x3ff;
  if (exponent === 0x1f) return (sign | 0x7f800000 | (fraction << 13)) >>> 0;
  if (exponent !== 0) return (sign | ((exponent + 112) << 23) | (fraction << 13)) >>> 0; // 112 = 127 − 15
  if (fraction === 0) return sign >>> 0;
  // Subnormal, fraction · 2⁻²⁴: normal in float32. Shift its highest bit to position 10, where it becomes implicit.
  const shift = Math.clz32(fraction) - 21;
  return (sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13)) >>> 0;
}

/** The bits of a float32 as the nearest f16 code. */
export function f32BitsToF16Bits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x1ff); // NaN, made quiet
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // from 65520, half way to 2¹⁶, ties to even: infinity
  if (magnitude >= 0x38800000) {
    // Normal in f16, from 2⁻¹⁴. A carry out of the fraction raises the exponent, as it must.
    const shifted = magnitude - (112 << 23);
    return sign | ((shifted + 0xfff + ((shifted >>> 13) & 1)) >>> 13);
  }
  if (magnitude <= 0x33000000) return sign; // up to 2⁻²⁵, half of the smallest subnormal: ties to even, zero
  const fraction = (magnitude & 0x7fffff) | 0x800000;
  const shift = 126 - (magnitude >>> 23); // 14 … 24: fraction · 2^(exponent − 150) in units of 2⁻²⁴
  const whole = fraction >>> shift;
  const rest = fraction & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (whole + (rest > half || (rest === half && (whole & 1) === 1) ? 1 : 0));
}

/** The bits of a float32 as the nearest bf16 code. */
export function f32BitsToBf16Bits(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40; // NaN, made quiet; rounding could carry it to 0
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

function checkLength(where: string, needed: number, got: number): void {
  if (got < needed) throw new RangeError(`${where}: out expected at least ${needed} elements, got ${got}`);
}
