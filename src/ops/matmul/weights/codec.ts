/**
 * What each kind of weight storage says of itself: sizes, and conversion from and to plain numbers on the host.
 *
 * The *checkpoint form* of rows is what files hold and what `encode` gives: the codes of K columns, row after row, without
 * padding (int4: padded to a multiple of 32 columns), and the scales. The device holds the same rows padded to `rowStride`.
 */
import type { DType } from "../../../tensor/index.js";
import type { WeightKind } from "../weight-matrix.js";

export interface EncodedWeights {
  /** Rows in checkpoint form. */
  readonly codes: Uint8Array;
  /** int8: [rows]; int4: [rows, ceil(padded columns / group)]. */
  readonly scales: Float32Array | undefined;
}

export interface WeightCodec {
  readonly kind: WeightKind;
  /** Element type of the codes tensor. */
  readonly dtype: DType;
  /** Bytes of the codes of `columns` stored columns of one row. */
  rowBytes(columns: number): number;
  /** Columns that a row has in checkpoint form. */
  checkpointColumns(columns: number): number;
  /** Scales of one row of `rowStride` stored columns; 0: the kind has none. */
  scalesPerRow(rowStride: number, group: number): number;
  /** The byte of codes that stand for zero. */
  readonly zeroByte: number;
  /**
   * Rounds [rows, columns] values to the kind. `roundScale` says how scales will be stored; codes are the nearest ones for
   * the scale so rounded. Default: float32.
   */
  encode(
    values: Float32Array,
    rows: number,
    columns: number,
    group: number,
    roundScale?: (scale: number) => number,
  ): EncodedWeights;
  /** The exact values of rows in checkpoint form. */
  decode(encoded: EncodedWeights, rows: number, columns: number, group: number): Float64Array;
}

/** A copy of the bytes' words, whatever the alignment of `bytes`. */
export function halfWords(bytes: Uint8Array): Uint16Array {
  return new Uint16Array(bytes.slice().buffer);
}
