/**
 * Weights as IEEE half-precision: [N, rowStride] of 16-bit words, no scales.
 *
 * Our choice: weights are finite. The CPU kernels widen a half by moving its bits, which reads an infinity or NaN as a
 * finite number of magnitude 65,536 or more; a trained checkpoint holds neither.
 */
import { halfWords, type WeightCodec } from "./codec.js";

const floatBits = new Uint32Array(1);
const floatValue = new Float32Array(floatBits.buffer);

/** The nearest half's bits, ties to even; magnitudes from 65,520 up become infinite. */
export function halfBits(value: number): number {
  floatValue[0] = value;
  const bits = floatBits[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // 65,520: halfway to the first value that does not exist
  if (magnitude < 0x38800000) {
    // Below 2^-14 halves are multiples of 2^-24: the float sum with 0.5 rounds to that step.
    floatBits[0] = magnitude;
    floatValue[0] = floatValue[0]! + 0.5;
    return sign | (floatBits[0]! - 0x3f000000);
  }
  // Re-bias the exponent by 112 and round the 13 bits that go to even.
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
}

/** The value of a half. */
export function halfValue(bits: number): number {
  const exponent = (bits >>> 10) & 31;
  const fraction = bits & 1023;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

export const f16Codec: WeightCodec = {
  kind: "f16",
  dtype: "f16",
  rowBytes: (columns) => columns * 2,
  checkpointColumns: (columns) => columns,
  scalesPerRow: () => 0,
  zeroByte: 0,
  encode: (values) => ({ codes: new Uint8Array(Uint16Array.from(values, halfBits).buffer), scales: undefined }),
  decode: ({ codes }) => Float64Array.from(halfWords(codes), halfValue),
};
