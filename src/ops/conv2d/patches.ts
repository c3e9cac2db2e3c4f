/**
 * The patches of images as a matrix, and back.
 *
 *   rows     P[(n, i, j), (c, u, v)] = x[n, c, stride · i + u − padding, stride · j + v − padding], zero outside
 *   columns  the transpose of it, with zeros behind
 *   gather   dx[n, c, y, x] = Σ of dP over all places where the pixel stands: the adjoint
 */
import type { WebGpuKernel } from "../../device/index.js";
import { empty, type Tensor } from "../../tensor/index.js";
import { flatGrid } from "../flat-grid.js";
import { gatherKernel, patchColumnsKernel, patchesParams, patchRowsKernel } from "./patches.wgsl.js";

/** Everything that a convolution's shapes decide. */
export interface ConvLayout {
  readonly images: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly outputs: number;
  readonly kernelHeight: number;
  readonly kernelWidth: number;
  readonly stride: number;
  readonly padding: number;
  readonly outHeight: number;
  readonly outWidth: number;
  /** Numbers of a patch: C · U · V. */
  readonly depth: number;
}

// Patches of so many bytes are worth one product; more would only take memory.
const patchBytes = 64 * 1024 * 1024;

/** How many images' patches are made at once. */
export function imagesAtOnce({ images, outHeight, outWidth, depth }: ConvLayout): number {
  return Math.max(1, Math.min(images, Math.floor(patchBytes / (4 * outHeight * outWidth * depth))));
}

/** f32 [count · H' · W', C · U · V]: the patches of images `first` … `first + count − 1`. */
export function patches(x: Tensor, layout: ConvLayout, first: number, count: number): Tensor {
  const rows = count * layout.outHeight * layout.outWidth;
  const out = empty(x.device, [rows, layout.depth], "f32", "patches");
  launch("convPatchRows", rowsWebGpu, x, out, layout, first, rows, layout.depth, rows);
  return out;
}

/** f32 [C · U · V, stride]: the same transposed; zeros from column count · H' · W' on. */
export function patchColumns(x: Tensor, layout: ConvLayout, first: number, count: number, stride: number): Tensor {
  const out = empty(x.device, [layout.depth, stride], "f32", "patches");
  const columns = count * layout.outHeight * layout.outWidth;
  launch("convPatchColumns", columnsWebGpu, x, out, layout, first, columns, stride, layout.depth);
  return out;
}

/** Adds up the patches' gradients [count · H' · W', C · U · V] for each pixel of images `first` on; writes them to dx. */
export function gatherPatches(rows: Tensor, dx: Tensor, layout: ConvLayout, first: number, count: number): void {
  const { channels, height, width } = layout;
  const elements = count * channels * height * width;
  launch("convGather", gatherWebGpu, rows, dx, layout, first, elements, width, count * channels * height);
}

/** @param extent patches for rows and columns, pixels for gather. @param stride of a row of the result. @param tasks its rows. */
function launch(
  name: string,
  kernel: WebGpuKernel,
  from: Tensor,
  to: Tensor,
  layout: ConvLayout,
  first: number,
  extent: number,
  stride: number,
  tasks: number,
): void {
  const { device } = from;
  const { channels, height, width, kernelHeight, kernelWidth, padding, outHeight, outWidth } = layout;
  const elements = tasks * stride;
  const cost = { bytes: 8 * elements, operations: elements };
  if (device.kind === "cpu") {
    device.run(name, {
      arguments: [
        ...[from, to, channels, height, width, kernelHeight, kernelWidth],
        ...[layout.stride, padding, outHeight, outWidth, first, extent, stride],
      ],
      tasks,
      cost,
    });
    return;
  }
  device.run(kernel, {
    buffers: [from, to],
    params: patchesParams.write({
      ...{ elements, channels, height, width, kernelHeight, kernelWidth },
      ...{ step: layout.stride, padding, outHeight, outWidth, first, extent, stride },
    }),
    grid: flatGrid(elements),
    cost,
  });
}

const rowsWebGpu: WebGpuKernel = { label: "conv2d patch rows", code: patchRowsKernel };
const columnsWebGpu: WebGpuKernel = { label: "conv2d patch columns", code: patchColumnsKernel };
const gatherWebGpu: WebGpuKernel = { label: "conv2d gather", code: gatherKernel };

export const conv2dVariants = (): WebGpuKernel[] => [rowsWebGpu, columnsWebGpu, gatherWebGpu];
