/**
 * A weight matrix in its stored form. The matrix product is written once over all kinds; each kind is one file in
 * `weights/` that knows its layout.
 *
 * Axes  N rows = outputs, K columns = inputs, as checkpoints store Linear weights; y = x Wᵀ. Experts are stacked along N.
 * Rows are padded with zeros to `rowStride` = K rounded up to a multiple of 32, so that vector loads never cross a row.
 *
 *   f32, f16, bf16   codes: [N, rowStride] of the type
 *   int8             codes: i8 [N, rowStride];   scales: f32 [N];             w = scale · code
 *   int4             codes: u8 [N, rowStride/2]; scales: f32 [N, rowStride/group]; w = scale · (code − 8)
 *                    A block of 32 columns is 16 bytes = eight 16-bit lanes L; column 8j + L is nibble j of lane L
 *                    (so 32-bit word m of a block holds columns 8j + 2m in nibble j and 8j + 2m + 1 in nibble j + 4).
 */
import type { Device } from "../../device/index.js";
import { ShapeError, type Tensor } from "../../tensor/index.js";

export type WeightKind = "f32" | "f16" | "bf16" | "int8" | "int4";

/** Columns of a row are padded to a multiple of this. */
export const COLUMN_BLOCK = 32;

export interface WeightMatrix extends Disposable {
  readonly device: Device;
  readonly kind: WeightKind;
  readonly rows: number;
  readonly columns: number;
  /** Stored columns: `columns` rounded up to a multiple of 32. */
  readonly rowStride: number;
  readonly codes: Tensor;
  /** int8 and int4 only. */
  readonly scales: Tensor | undefined;
  /** int4: columns that share a scale (32, 64 or 128). */
  readonly group: number;
  /**
   * How products with it may be computed. f16 lets a device with matrix instructions round both operands to float16 in
   * products of many tokens (sums stay float32); everything else computes in float32 either way.
   */
  readonly precision: "f32" | "f16";
  dispose(): void;
}

/**
 * A tensor's rows as a float32 matrix: parameters in training, transposed operands. The matrix takes the handle over.
 *
 * @param codes f32 [N, rowStride], zeros from column `columns` on.
 * @throws {ShapeError} the rows are no multiple of 32 numbers long, or shorter than `columns`.
 */
export function matrixFromTensor(codes: Tensor, columns: number, precision: "f32" | "f16" = "f32"): WeightMatrix {
  const [rows, rowStride] = codes.shape;
  if (
    rows === undefined ||
    rowStride === undefined ||
    codes.shape.length !== 2 ||
    rowStride % COLUMN_BLOCK !== 0 ||
    columns > rowStride
  ) {
    throw new ShapeError(
      "matrixFromTensor",
      "codes",
      `[N, multiple of ${COLUMN_BLOCK}, at least ${columns}]`,
      codes.shape,
    );
  }
  const { device } = codes;
  const dispose = (): void => codes.dispose();
  return {
    device,
    kind: "f32",
    rows,
    columns,
    rowStride,
    codes,
    scales: undefined,
    group: COLUMN_BLOCK,
    precision,
    dispose,
    [Symbol.dispose]: dispose,
  };
}
