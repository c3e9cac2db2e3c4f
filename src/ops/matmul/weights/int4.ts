/**
 * Weights as four-bit codes with one scale for each group of columns: codes u8 [N, rowStride/2], scales f32
 * [N, ceil(rowStride/group)]; w = scale · (code − 8). The order of the nibbles is in weight-matrix.ts.
 *
 * Our choice: plain rounding. For each group the scale is either largest magnitude / 7, or (the value of largest
 * magnitude) / −8, which uses the code −8 that the first wastes; whichever has the lower squared error. The second makes
 * scales negative for groups whose largest value is positive.
 */
import { COLUMN_BLOCK } from "../weight-matrix.js";
import type { WeightCodec } from "./codec.js";

const paddedColumns = (columns: number): number => Math.ceil(columns / COLUMN_BLOCK) * COLUMN_BLOCK;

/** The byte of a row that holds `column`, and the bits by which its nibble is shifted. */
export function nibbleAt(column: number): { byte: number; shift: number } {
  const inBlock = column % COLUMN_BLOCK;
  const lane = inBlock % 8;
  const nibble = inBlock >> 3;
  return { byte: (column - inBlock) / 2 + lane * 2 + (nibble >> 1), shift: (nibble & 1) * 4 };
}

const codeOf = (value: number, scale: number): number =>
  scale === 0 ? 8 : Math.max(0, Math.min(15, Math.round(value / scale) + 8));

function squaredError(values: Float32Array, scale: number): number {
  return values.reduce((sum, value) => sum + (value - scale * (codeOf(value, scale) - 8)) ** 2, 0);
}

function bestScale(values: Float32Array, roundScale: (scale: number) => number): number {
  const extreme = values.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
  const symmetric = roundScale(Math.abs(extreme) / 7);
  const signed = roundScale(extreme / -8);
  return squaredError(values, signed) < squaredError(values, symmetric) ? signed : symmetric;
}

export const int4Codec: WeightCodec = {
  kind: "int4",
  dtype: "u8",
  rowBytes: (columns) => columns / 2,
  checkpointColumns: paddedColumns,
  scalesPerRow: (rowStride, group) => Math.ceil(rowStride / group),
  zeroByte: 0x88,

  encode(values, rows, columns, group, roundScale = Math.fround) {
    const stride = paddedColumns(columns);
    const groups = Math.ceil(stride / group);
    const codes = new Uint8Array((rows * stride) / 2).fill(0x88);
    const scales = new Float32Array(rows * groups);
    for (let row = 0; row < rows; row++) {
      for (let first = 0; first < columns; first += group) {
        const last = Math.min(columns, first + group);
        const scale = bestScale(values.subarray(row * columns + first, row * columns + last), roundScale);
        scales[row * groups + first / group] = scale;
        for (let column = first; column < last; column++) {
          const { byte, shift } = nibbleAt(column);
          const at = (row * stride) / 2 + byte;
          const code = codeOf(values[row * columns + column]!, scale);
          codes[at] = (codes[at]! & (0xf0 >> shift)) | (code << shift);
        }
      }
    }
    return { codes, scales };
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
