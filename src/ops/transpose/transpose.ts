/**
 * The transpose of a matrix, with zeros around it.
 *
 *   y[c, r] = x[r, c] for r < R, c < C, else 0
 *
 * Axes      x: [R, stride ≥ C] f32, of which the first C columns are taken; y: [rows ≥ C, columns ≥ R] f32.
 * Precision copies.
 */
import type { WebGpuKernel } from "../../device/index.js";
import { empty, record, ShapeError, type Tensor } from "../../tensor/index.js";
import { TILE, transposeKernel, transposeParams } from "./transpose.wgsl.js";

export interface TransposeOptions {
  /** C. Default: all of x's. */
  readonly columns?: number;
  /** Extents of the result. Default [C, R]. */
  readonly rowsOut?: number;
  readonly columnsOut?: number;
}

/** @param x f32 [R, stride]. @returns f32 [rowsOut, columnsOut]. @throws {ShapeError} */
export function transpose(x: Tensor, o: TransposeOptions = {}): Tensor {
  const [R, stride] = x.shape;
  if (R === undefined || stride === undefined || x.shape.length !== 2) {
    throw new ShapeError("transpose", "x", "[R, C]", x.shape);
  }
  if (x.dtype !== "f32") throw new TypeError(`transpose: expected f32, got ${x.dtype}`);
  const { columns = stride } = o;
  const { rowsOut = columns, columnsOut = R } = o;
  if (columns > stride || rowsOut < columns || columnsOut < R) {
    throw new ShapeError("transpose", "result", `at least [${columns}, ${R}]`, [rowsOut, columnsOut]);
  }
  const { device } = x;
  const y = empty(device, [rowsOut, columnsOut]);
  const cost = { bytes: x.byteLength + y.byteLength, operations: 0 };
  if (device.kind === "cpu") {
    device.run("transpose", {
      arguments: [x, y, R, columns, stride, rowsOut, columnsOut],
      tasks: Math.ceil(rowsOut / 4),
      cost,
    });
  } else {
    const tilesX = Math.ceil(columnsOut / TILE);
    const tilesY = Math.ceil(rowsOut / TILE);
    device.run(kernel, {
      buffers: [x, y],
      params: transposeParams.write({ rows: R, columns, stride, rowsOut, columnsOut }),
      grid: [tilesX, tilesY],
      cost,
    });
  }
  record("transpose", [x], [y]);
  return y;
}

const kernel: WebGpuKernel = { label: "transpose", code: transposeKernel };

export const transposeVariants = (): WebGpuKernel[] => [kernel];
