/**
 * Splits a weight matrix into pieces of rows that each fit one WebGPU binding.
 *
 * A binding begins at a multiple of the device's offset alignment, so that pieces begin at multiples of `rowUnit` rows.
 */
import { type BufferSlice, DeviceError } from "../../../device/index.js";
import type { WeightMatrix } from "../weight-matrix.js";
import { hasScales, weightParamValues } from "./load.wgsl.js";

export interface BindingLimits {
  readonly maxBindingBytes: number;
  readonly offsetAlignment: number;
}

/** Rows `begin … end − 1`. */
export interface RowRange {
  readonly begin: number;
  readonly end: number;
}

/** Bytes of codes in a row. */
export function rowBytes(w: WeightMatrix): number {
  return weightParamValues(w).rowVectors * 16;
}

/** Bytes of scales in a row, 0 without scales. */
export function scaleRowBytes(w: WeightMatrix): number {
  return hasScales(w.kind) ? weightParamValues(w).rowScales * 4 : 0;
}

/** Whether the scales of all rows fit one binding: then pieces of codes are bound with all of them. */
export function scalesFit(w: WeightMatrix, { maxBindingBytes }: BindingLimits): boolean {
  return w.rows * scaleRowBytes(w) <= maxBindingBytes;
}

/** Rows between two places where a binding of codes, and one of scales if they do not fit as a whole, can begin. */
export function rowUnit(w: WeightMatrix, limits: BindingLimits): number {
  const { offsetAlignment } = limits;
  const unitOf = (bytes: number): number =>
    bytes === 0 ? 1 : offsetAlignment / greatestCommonDivisor(offsetAlignment, bytes);
  if (scalesFit(w, limits)) return unitOf(rowBytes(w));
  // The alignment is a power of two, and so are both units: the larger one is a multiple of the other.
  return Math.max(unitOf(rowBytes(w)), unitOf(scaleRowBytes(w)));
}

/**
 * Pieces of rows 0 … rows − 1, each of whose codes fit a binding with `spare` more rows.
 *
 * @throws {DeviceError} a single unit of rows does not fit.
 */
export function rowPieces(w: WeightMatrix, limits: BindingLimits, rows = w.rows, spare = 0): RowRange[] {
  const unit = rowUnit(w, limits);
  const fitting = Math.floor(limits.maxBindingBytes / rowBytes(w)) - spare;
  if (rows <= fitting) return [{ begin: 0, end: rows }];
  const step = Math.floor(fitting / unit) * unit;
  if (step <= 0) {
    throw new DeviceError(
      `weights ${w.kind} [${w.rows}, ${w.columns}]: ${unit + spare} rows of ${rowBytes(w)} bytes exceed a binding of ${limits.maxBindingBytes} bytes`,
    );
  }
  const pieces: RowRange[] = [];
  for (let begin = 0; begin < rows; begin += step) pieces.push({ begin, end: Math.min(rows, begin + step) });
  return pieces;
}

/** The codes of a range of rows. */
export function codesOf(w: WeightMatrix, { begin, end }: RowRange): BufferSlice {
  return part(w.codes, begin, end, rowBytes(w));
}

/** The scales of a range of rows; nothing for float kinds. */
export function scalesOf(w: WeightMatrix, { begin, end }: RowRange): BufferSlice | undefined {
  return w.scales && part(w.scales, begin, end, scaleRowBytes(w));
}

function part(slice: BufferSlice, begin: number, end: number, bytes: number): BufferSlice {
  return {
    allocation: slice.allocation,
    byteOffset: slice.byteOffset + begin * bytes,
    byteLength: (end - begin) * bytes,
  };
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
