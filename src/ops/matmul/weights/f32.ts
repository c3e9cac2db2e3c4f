/** Weights as float32: [N, rowStride], no scales. */
import type { WeightCodec } from "./codec.js";

export const f32Codec: WeightCodec = {
  kind: "f32",
  dtype: "f32",
  rowBytes: (columns) => columns * 4,
  checkpointColumns: (columns) => columns,
  scalesPerRow: () => 0,
  zeroByte: 0,
  encode: (values) => ({ codes: new Uint8Array(values.slice().buffer), scales: undefined }),
  decode: ({ codes }) => Float64Array.from(new Float32Array(codes.slice().buffer)),
};
