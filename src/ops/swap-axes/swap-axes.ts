/**
 * Two neighbouring axes change places.
 *
 *   y[a, c, b, u] = x[a, b, c, u]
 *
 * Axes      A what lies before them, B and C the two, U what lies behind; row-major.
 * Precision copies.
 * Gradient  the same, with B and C changed.
 */
import type { WebGpuKernel } from "../../device/index.js";
import { empty, record, ShapeError, sizeOf, type Tensor } from "../../tensor/index.js";
import { flatGrid } from "../flat-grid.js";
import { swapAxesKernel, swapAxesParams } from "./swap-axes.wgsl.js";

/** @param x f32. @param axis the first of the two axes. @returns f32 in the swapped shape. @throws {ShapeError} */
export function swapAxes(x: Tensor, axis: number): Tensor {
  const { shape } = x;
  const [B, C] = [shape[axis], shape[axis + 1]];
  if (B === undefined || C === undefined) {
    throw new ShapeError("swapAxes", "x", `axes ${axis} and ${axis + 1}`, shape);
  }
  if (x.dtype !== "f32") throw new TypeError(`swapAxes: expected f32, got ${x.dtype}`);
  const y = empty(x.device, [...shape.slice(0, axis), C, B, ...shape.slice(axis + 2)]);
  launchSwapAxes(x, y, { a: sizeOf(shape.slice(0, axis)), b: B, c: C, u: sizeOf(shape.slice(axis + 2)) });
  record(
    "swapAxes",
    [x],
    [y],
    () =>
      ([dy]) =>
        dy ? [swapAxes(dy, axis).handOver()] : [],
  );
  return y;
}

/** Extents as in the header; offsets are elements before the first one that is read and written, for parts of tensors. */
export interface SwapSizes {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly u: number;
  readonly xOffset?: number;
  readonly yOffset?: number;
  /** Elements from a row [C, U] of x to the next, and from a row [B, U] of y to the next. Default: they follow each other. */
  readonly xRow?: number;
  readonly yRow?: number;
}

/** The launch alone, between parts of tensors. */
export function launchSwapAxes(x: Tensor, y: Tensor, sizes: SwapSizes): void {
  const { a, b, c, u, xOffset = 0, yOffset = 0, xRow = c * u, yRow = b * u } = sizes;
  const { device } = x;
  const elements = a * b * c * u;
  const cost = { bytes: 8 * elements, operations: 0 };
  if (device.kind === "cpu") {
    device.run("swapAxes", { arguments: [x, y, b, c, u, xOffset, yOffset, xRow, yRow], tasks: a * c, cost });
  } else {
    device.run(swapAxesWebGpu, {
      buffers: [x, y],
      params: swapAxesParams.write({ elements, b, c, u, xOffset, yOffset, xRow, yRow }),
      grid: flatGrid(elements),
      cost,
    });
  }
}

export const swapAxesWebGpu: WebGpuKernel = { label: "swap-axes", code: swapAxesKernel };
