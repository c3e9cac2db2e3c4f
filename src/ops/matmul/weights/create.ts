/**
 * Making weight matrices on a device and filling them, rows by rows as a checkpoint streams in.
 *
 * Rows that need no padding (columns a multiple of 32) are written straight from the given bytes.
 */
import { type Device, LENT_BYTES } from "../../../device/index.js";
import { empty, ShapeError } from "../../../tensor/index.js";
import { COLUMN_BLOCK, type WeightKind, type WeightMatrix } from "../weight-matrix.js";
import { bf16Codec } from "./bf16.js";
import type { WeightCodec } from "./codec.js";
import { f16Codec } from "./f16.js";
import { f32Codec } from "./f32.js";
import { int4Codec } from "./int4.js";
import { int8Codec } from "./int8.js";

export const weightCodecs: Readonly<Record<WeightKind, WeightCodec>> = {
  f32: f32Codec,
  f16: f16Codec,
  bf16: bf16Codec,
  int8: int8Codec,
  int4: int4Codec,
};

/** Rows are padded through a staging array of at most this many bytes (or one row). */
const STAGING_BYTES = 4 << 20;

export interface WeightShape {
  readonly kind: WeightKind;
  readonly rows: number;
  readonly columns: number;
  /** int4: columns that share a scale: 32 (default), 64 or 128. */
  readonly group?: number;
  /** Default f32. */
  readonly precision?: "f32" | "f16";
}

/** Device memory of a weight matrix, bytes. */
export function weightBytes({ kind, rows, columns, group = COLUMN_BLOCK }: WeightShape): number {
  const rowStride = strideOf(columns);
  const codec = weightCodecs[kind];
  return rows * (codec.rowBytes(rowStride) + 4 * codec.scalesPerRow(rowStride, group));
}

function strideOf(columns: number): number {
  return Math.ceil(columns / COLUMN_BLOCK) * COLUMN_BLOCK;
}

/**
 * A weight matrix with undefined contents, to be filled by `writeRows`.
 *
 * @throws {RangeError} an extent is not a whole number ≥ 1, or the group is not 32, 64 or 128.
 */
export function createWeightMatrix(device: Device, shape: WeightShape, label = "weights"): WeightMatrix {
  const { kind, rows, columns, group = COLUMN_BLOCK, precision = "f32" } = shape;
  if (!Number.isInteger(rows) || !Number.isInteger(columns) || rows < 1 || columns < 1) {
    throw new RangeError(`weight matrix: expected at least one row and column, got [${rows}, ${columns}]`);
  }
  if (group !== 32 && group !== 64 && group !== 128) {
    throw new RangeError(`weight matrix: group expected 32, 64 or 128 columns, got ${group}`);
  }
  const codec = weightCodecs[kind];
  const rowStride = strideOf(columns);
  const codeColumns = kind === "int4" ? rowStride / 2 : rowStride;
  const scaleColumns = codec.scalesPerRow(rowStride, group);
  const codes = empty(device, [rows, codeColumns], codec.dtype, label);
  const scaleShape = kind === "int8" ? [rows] : [rows, scaleColumns];
  const scales = scaleColumns === 0 ? undefined : empty(device, scaleShape, "f32", `${label} scales`);
  const dispose = (): void => {
    codes.dispose();
    scales?.dispose();
  };
  return {
    device,
    kind,
    rows,
    columns,
    rowStride,
    codes,
    scales,
    group,
    precision,
    dispose,
    [Symbol.dispose]: dispose,
  };
}

/** Rows that `receiveRows` takes at a time without a copy; at least one. */
export function rowsPerPiece({ kind, rowStride }: WeightMatrix): number {
  return Math.max(1, Math.floor(LENT_BYTES / weightCodecs[kind].rowBytes(rowStride)));
}

/** Bytes of a row of codes in checkpoint form. */
export function checkpointRowBytes({ kind, columns }: WeightMatrix): number {
  const codec = weightCodecs[kind];
  return codec.rowBytes(codec.checkpointColumns(columns));
}

/**
 * Fills rows `firstRow … firstRow + rows − 1` with codes that `read` puts into the memory it is given (in checkpoint form, as
 * for `writeRows`): straight into place where rows need no padding. Several may be under way.
 *
 * @throws {ShapeError} the matrix has fewer rows, or `scales` does not suit it.
 */
export async function receiveRows(
  matrix: WeightMatrix,
  firstRow: number,
  rows: number,
  read: (codes: Uint8Array) => Promise<void>,
  scales?: Float32Array,
): Promise<void> {
  checkRows("receiveRows", matrix, firstRow, rows);
  checkScales("receiveRows", matrix, rows, scales);
  if (rows === 0) return;
  const codec = weightCodecs[matrix.kind];
  const sourceBytes = checkpointRowBytes(matrix);
  const targetBytes = codec.rowBytes(matrix.rowStride);
  const { device, codes } = matrix;
  const byteOffset = codes.byteOffset + firstRow * targetBytes;
  await device.receive({ allocation: codes.allocation, byteOffset, byteLength: rows * targetBytes }, async (memory) => {
    if (sourceBytes === targetBytes) return read(memory);
    const packed = new Uint8Array(rows * sourceBytes);
    await read(packed);
    padRows(packed, sourceBytes, memory, targetBytes, codec.zeroByte);
  });
  writeScales(matrix, firstRow, scales);
}

/**
 * Fills rows `firstRow … firstRow + rows − 1`.
 *
 * @param codes rows in checkpoint form: K columns each, without padding (int4: padded to a multiple of 32 columns).
 * @param scales int8: [rows]; int4: [rows, ceil(padded columns / group)]; else absent.
 * @throws {ShapeError} the bytes or scales do not hold that many rows, or the matrix has fewer.
 */
export function writeRows(
  matrix: WeightMatrix,
  firstRow: number,
  rows: number,
  codes: Uint8Array,
  scales?: Float32Array,
): void {
  const { device, kind, columns, rowStride } = matrix;
  checkRows("writeRows", matrix, firstRow, rows);
  const codec = weightCodecs[kind];
  const sourceBytes = checkpointRowBytes(matrix);
  if (codes.byteLength !== rows * sourceBytes) {
    const expected = `${rows * sourceBytes} bytes for ${rows} ${kind} rows of ${columns} columns`;
    throw new ShapeError("writeRows", "codes", expected, `${codes.byteLength} bytes`);
  }
  checkScales("writeRows", matrix, rows, scales);
  if (rows === 0) return;

  const targetBytes = codec.rowBytes(rowStride);
  const codesAt = matrix.codes.byteOffset + firstRow * targetBytes;
  const { allocation } = matrix.codes;
  if (sourceBytes === targetBytes) {
    device.write({ allocation, byteOffset: codesAt, byteLength: codes.byteLength }, codes);
  } else {
    const perWrite = Math.max(1, Math.min(rows, Math.floor(STAGING_BYTES / targetBytes)));
    for (let done = 0; done < rows; done += perWrite) {
      const count = Math.min(perWrite, rows - done);
      const staging = new Uint8Array(count * targetBytes);
      const packed = codes.subarray(done * sourceBytes, (done + count) * sourceBytes);
      padRows(packed, sourceBytes, staging, targetBytes, codec.zeroByte);
      device.write({ allocation, byteOffset: codesAt + done * targetBytes, byteLength: staging.byteLength }, staging);
    }
  }
  writeScales(matrix, firstRow, scales);
}

function checkRows(what: string, { rows: all }: WeightMatrix, firstRow: number, rows: number): void {
  if (firstRow >= 0 && rows >= 0 && firstRow + rows <= all) return;
  throw new ShapeError(what, "rows", `within 0 … ${all - 1}`, `${firstRow} … ${firstRow + rows - 1}`);
}

function checkScales(
  what: string,
  { kind, rowStride, group }: WeightMatrix,
  rows: number,
  scales: Float32Array | undefined,
): void {
  const wanted = rows * weightCodecs[kind].scalesPerRow(rowStride, group);
  if ((scales?.length ?? 0) === wanted) return;
  throw new ShapeError(what, "scales", `${wanted} values for ${rows} ${kind} rows`, `${scales?.length ?? 0} values`);
}

function padRows(packed: Uint8Array, from: number, padded: Uint8Array, to: number, zeroByte: number): void {
  for (let row = 0; row * to < padded.byteLength; row++) {
    padded.set(packed.subarray(row * from, (row + 1) * from), row * to);
    padded.fill(zeroByte, row * to + from, (row + 1) * to);
  }
}

function writeScales(matrix: WeightMatrix, firstRow: number, scales: Float32Array | undefined): void {
  if (scales === undefined || matrix.scales === undefined) return;
  const perRow = weightCodecs[matrix.kind].scalesPerRow(matrix.rowStride, matrix.group);
  const byteOffset = matrix.scales.byteOffset + firstRow * perRow * 4;
  matrix.device.write({ allocation: matrix.scales.allocation, byteOffset, byteLength: scales.byteLength }, scales);
}

/**
 * A weight matrix from plain numbers, rounded to `kind`.
 *
 * @param values [rows, columns].
 */
export function weightFromFloat32(
  device: Device,
  values: Float32Array,
  rows: number,
  columns: number,
  kind: WeightKind,
  group: number = COLUMN_BLOCK,
): WeightMatrix {
  if (values.length !== rows * columns) {
    throw new ShapeError("weightFromFloat32", "values", `[${rows}, ${columns}]`, [values.length]);
  }
  const matrix = createWeightMatrix(device, { kind, rows, columns, group });
  const { codes, scales } = weightCodecs[kind].encode(values, rows, columns, group);
  writeRows(matrix, 0, rows, codes, scales);
  return matrix;
}
