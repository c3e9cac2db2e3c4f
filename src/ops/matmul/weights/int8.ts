/**
 * Weights as signed bytes with one scale for each row: codes i8 [N, rowStride], scales f32 [N]; w = scale · code.
 *
 * Our choice: plain rounding, symmetric, codes −127 … 127, scale = the row's largest magnitude / 127.
 */
import type { WeightCodec } from "./codec.js";

export const int8Codec: WeightCodec = {
  kind: "int8",
  dtype: "i8",
  rowBytes: (columns) => columns,
  checkpointColumns: (columns) => columns,
  scalesPerRow: () => 1,
  zeroByte: 0,

  encode(values, rows, columns, _group, roundScale = Math.fround) {
    const codes = new Int8Array(rows * columns);
    const scales = new Float32Array(rows);
    for (let row = 0; row < rows; row++) {
      const first = row * columns;
      let largest = 0;
      for (let k = 0; k < columns; k++) largest = Math.max(largest, Math.abs(values[first + k]!));
      scales[row] = roundScale(largest / 127);
      const scale = scales[row]!;
      if (scale === 0) continue;
      for (let k = 0; k < columns; k++) {
        const code = Math.round(values[first + k]! / scale);
        codes[first + k] = Math.max(-127, Math.min(127, code));
      }
    }
    return { codes: new Uint8Array(codes.buffer), scales };
  },

  decode({ codes, scales }, rows, columns) {
    const signed = new Int8Array(codes.buffer, codes.byteOffset, codes.byteLength);
    return Float64Array.from({ length: rows * columns }, (_, i) => signed[i]! * scales![Math.floor(i / columns)]!);
  },
};
