/**
 * Images made larger or smaller by a whole factor F.
 *
 *   upsampleNearest(x, F)   y[…, i, j] = x[…, ⌊i / F⌋, ⌊j / F⌋]
 *   averagePool(x, F)       y[…, i, j] = mean of x[…, F i … F i + F − 1, F j … F j + F − 1]
 *
 * Axes      x: [N, C, H, W]; row-major.
 * Precision float32; a mean of F² numbers is summed row by row.
 * Gradient  each is the other's, but for the factor F².
 */
import { f32, type WebGpuKernel } from "../../device/index.js";
import { empty, record, ShapeError, type Tensor } from "../../tensor/index.js";
import { flatGrid } from "../flat-grid.js";
import { poolKernel, resampleParams, spreadKernel } from "./resample.wgsl.js";

/** @param x f32 [N, C, H, W]. @returns f32 [N, C, F·H, F·W]. @throws {ShapeError} */
export function upsampleNearest(x: Tensor, factor: number): Tensor {
  check("upsampleNearest", x, factor, false);
  const y = spread(x, factor, 1);
  record(
    "upsampleNearest",
    [x],
    [y],
    () =>
      ([dy]) =>
        dy ? [pool(dy, factor, 1).handOver()] : [],
  );
  return y;
}

/** @param x f32 [N, C, H, W], H and W multiples of F. @returns f32 [N, C, H / F, W / F]. @throws {ShapeError} */
export function averagePool(x: Tensor, factor: number): Tensor {
  check("averagePool", x, factor, true);
  const scale = 1 / factor ** 2;
  const y = pool(x, factor, scale);
  record(
    "averagePool",
    [x],
    [y],
    () =>
      ([dy]) =>
        dy ? [spread(dy, factor, scale).handOver()] : [],
  );
  return y;
}

function check(where: string, x: Tensor, factor: number, divides: boolean): void {
  const [, , H, W] = x.shape;
  if (!Number.isInteger(factor) || factor < 1)
    throw new RangeError(`${where}: factor expected 1 or more, got ${factor}.`);
  if (
    H === undefined ||
    W === undefined ||
    x.shape.length !== 4 ||
    (divides && (H % factor !== 0 || W % factor !== 0))
  ) {
    throw new ShapeError(
      where,
      "x",
      divides ? `[N, C, H, W], H and W multiples of ${factor}` : "[N, C, H, W]",
      x.shape,
    );
  }
  if (x.dtype !== "f32") throw new TypeError(`${where}: expected f32, got ${x.dtype}`);
}

/** scale · x at each of F × F places. */
function spread(x: Tensor, factor: number, scale: number): Tensor {
  const [N, C, H, W] = x.shape as [number, number, number, number]; // `check` has seen four
  const y = empty(x.device, [N, C, H * factor, W * factor], "f32", "upsample");
  launch("resampleSpread", spreadWebGpu, x, y, { width: W * factor, rows: N * C * H * factor, factor, scale });
  return y;
}

/** scale · the sum of F × F places. */
function pool(x: Tensor, factor: number, scale: number): Tensor {
  const [N, C, H, W] = x.shape as [number, number, number, number]; // `check` has seen four
  const y = empty(x.device, [N, C, H / factor, W / factor], "f32", "average-pool");
  launch("resamplePool", poolWebGpu, x, y, { width: W / factor, rows: (N * C * H) / factor, factor, scale });
  return y;
}

interface Sizes {
  /** Of the result's rows. */
  readonly width: number;
  /** Rows of the result, of all images. */
  readonly rows: number;
  readonly factor: number;
  readonly scale: number;
}

// H is a multiple of F wherever it matters, so images need no boundaries: their rows follow each other.
function launch(name: string, kernel: WebGpuKernel, x: Tensor, y: Tensor, { width, rows, factor, scale }: Sizes): void {
  const { device } = x;
  const cost = { bytes: x.byteLength + y.byteLength, operations: Math.max(x.size, y.size) };
  if (device.kind === "cpu") {
    device.run(name, { arguments: [x, y, width, factor, f32(scale)], tasks: rows, cost });
  } else {
    device.run(kernel, {
      buffers: [x, y],
      params: resampleParams.write({ elements: y.size, width, factor, scale }),
      grid: flatGrid(y.size),
      cost,
    });
  }
}

const spreadWebGpu: WebGpuKernel = { label: "resample spread", code: spreadKernel };
const poolWebGpu: WebGpuKernel = { label: "resample pool", code: poolKernel };

export const resampleVariants = (): WebGpuKernel[] => [spreadWebGpu, poolWebGpu];
