/** Weights as bfloat16, the upper half of a float32: [N, rowStride] of 16-bit words, no scales. */
import { halfWords, type WeightCodec } from "./codec.js";

const floatBits = new Uint32Array(1);
const floatValue = new Float32Array(floatBits.buffer);

/** The nearest bfloat16's bits, ties to even. */
export function bfloatBits(value: number): number {
  floatValue[0] = value;
  const bits = floatBits[0]!;
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40; // a NaN stays one
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The value of a bfloat16. */
export function bfloatValue(bits: number): number {
  floatBits[0] = bits << 16;
  return floatValue[0]!;
}

export const bf16Codec: WeightCodec = {
  kind: "bf16",
  dtype: "bf16",
  rowBytes: (columns) => columns * 2,
  checkpointColumns: (columns) => columns,
  scalesPerRow: () => 0,
  zeroByte: 0,
  encode: (values) => ({ codes: new Uint8Array(Uint16Array.from(values, bfloatBits).buffer), scales: undefined }),
  decode: ({ codes }) => Float64Array.from(halfWords(codes), bfloatValue),
};
