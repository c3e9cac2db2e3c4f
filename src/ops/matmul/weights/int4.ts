/**
 * Weights as four-bit codes with one scale for each group of columns: codes u8 [N, rowStride/2], scales f32
 * [N, ceil(rowStride/group)]; w = scale · (code − 8). The order of the nibbles is in weight-matrix.ts.
 *
 * Our choice: codes are the nearest ones for a group's scale; the scale is the best of int4-scales.ts.
 */
import { COLUMN_BLOCK } from "../weight-matrix.js";
import type { WeightCodec } from "./codec.js";
import { candidateScales, nearestCode } from "./int4-scales.js";

const paddedColumns = (columns: number): number => Math.ceil(columns / COLUMN_BLOCK) * COLUMN_BLOCK;

/** The byte of a row that holds `column`, and the bits by which its nibble is shifted. */
export function nibbleAt(column: number): { byte: number; shift: number } {
  const inBlock = column % COLUMN_BLOCK;
  const lane = inBlock % 8;
  const nibble = inBlock >> 3;
  return { byte: (column - inBlock) / 2 + lane * 2 + (nibble >> 1), shift: (nibble & 1) * 4 };
}

/** The error, or a value of at least `limit`. */
function squaredError(values: Float32Array, scale: number, limit: number): number {
  let sum = 0;
  for (let i = 0; i < values.length && sum < limit; i++) {
    sum += (values[i]! - scale * nearestCode(values[i]!, scale)) ** 2;
  }
  return sum;
}

function bestScale(values: Float32Array, roundScale: (scale: number) => number): number {
  let best = { scale: 0, error: Number.POSITIVE_INFINITY };
  for (const scale of candidateScales(values, roundScale)) {
    const error = squaredError(values, scale, best.error);
    if (error < best.error) best = { scale, error };
  }
  return best.scale;
}

/** Codes −8 … 7 [rows, columns] in checkpoint form. */
export function packInt4(codes: Int8Array, rows: number, columns: number): Uint8Array {
  const stride = paddedColumns(columns);
  const packed = new Uint8Array((rows * stride) / 2).fill(0x88);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const { byte, shift } = nibbleAt(column);
      const at = (row * stride) / 2 + byte;
      packed[at] = (packed[at]! & (0xf0 >> shift)) | ((codes[row * columns + column]! + 8) << shift);
    }
  }
  return packed;
}

export const int4Codec: WeightCodec = {
  kind: "int4",
  dtype: "u8",
  rowBytes: (columns) => columns / 2,
  checkpointColumns: paddedColumns,
  scalesPerRow: (rowStride, group) => Math.ceil(rowStride / group),
  zeroByte: 0x88,

  encode(values, rows, columns, group, roundScale = Math.fround) {
    const groups = Math.ceil(paddedColumns(columns) / group);
    const codes = new Int8Array(rows * columns);
    const scales = new Float32Array(rows * groups);
    for (let row = 0; row < rows; row++) {
      for (let first = 0; first < columns; first += group) {
        const at = row * columns + first;
        const own = values.subarray(at, at + Math.min(columns - first, group));
        const scale = bestScale(own, roundScale);
        scales[row * groups + first / group] = scale;
        for (const [i, value] of own.entries()) codes[at + i] = nearestCode(value, scale);
      }
    }
    return { codes: packInt4(codes, rows, columns), scales };
  },

  decode({ codes, scales }, rows, columns, group) {
    const stride = paddedColumns(columns);
    const groups = Math.ceil(stride / group);
    const values = new Float64Array(rows * columns);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const { byte, shift } = nibbleAt(column);
        const code = (codes[(row * stride) / 2 + byte]! >> shift) & 15;
        values[row * columns + column] = (code - 8) * scales![row * groups + Math.floor(column / group)]!;
      }
    }
    return values;
  },
};
