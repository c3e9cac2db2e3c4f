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

/** Some patches, counted over all images: whole images, or a part of one. */
export interface PatchRange {
  readonly first: number;
  readonly count: number;
}

// Patches of so many bytes are worth one product; more would only take memory.
const usualBytes = 64 * 1024 * 1024;

/** All patches in turn: as many whole images at once as fit into `bytes`, or parts of images that do not. */
export function patchRanges({ images, outHeight, outWidth, depth }: ConvLayout, bytes = usualBytes): PatchRange[] {
  const places = outHeight * outWidth;
  const fitting = Math.max(1, Math.floor(bytes / (4 * depth)));
  const step = fitting < places ? fitting : Math.floor(fitting / places) * places;
  const ranges: PatchRange[] = [];
  for (let first = 0; first < images * places; ) {
    // A part ends with its image.
    const end = step < places ? (Math.floor(first / places) + 1) * places : images * places;
    const count = Math.min(step, end - first);
    ranges.push({ first, count });
    first += count;
  }
  return ranges;
}

/** f32 [count, C · U · V]. */
export function patches(x: Tensor, layout: ConvLayout, { first, count }: PatchRange): Tensor {
  const out = empty(x.device, [count, layout.depth], "f32", "patches");
  launch("convPatchRows", rowsWebGpu, x, out, layout, { first, count, stride: layout.depth, tasks: count });
  return out;
}

/** f32 [C · U · V, stride]: the same transposed; zeros from column `count` on. */
export function patchColumns(x: Tensor, layout: ConvLayout, { first, count }: PatchRange, stride: number): Tensor {
  const out = empty(x.device, [layout.depth, stride], "f32", "patches");
  launch("convPatchColumns", columnsWebGpu, x, out, layout, { first, count, stride, tasks: layout.depth });
  return out;
}

/**
 * Adds up the patches' gradients [count, C · U · V] for each pixel of the range's images in dx. The first part of an image writes, further
 * ones add.
 */
export function gatherPatches(rows: Tensor, dx: Tensor, layout: ConvLayout, { first, count }: PatchRange): void {
  const { channels, height, width, outHeight, outWidth } = layout;
  const images = Math.ceil(count / (outHeight * outWidth));
  launch("convGather", gatherWebGpu, rows, dx, layout, {
    first,
    count,
    stride: width,
    tasks: images * channels * height,
  });
}

interface Launch extends PatchRange {
  /** Of the result's rows. */
  readonly stride: number;
  /** The result's rows. */
  readonly tasks: number;
}

function launch(
  name: string,
  kernel: WebGpuKernel,
  from: Tensor,
  to: Tensor,
  layout: ConvLayout,
  { first, count, stride, tasks }: Launch,
): void {
  const { device } = from;
  const { channels, height, width, kernelHeight, kernelWidth, padding, outHeight, outWidth } = layout;
  const elements = tasks * stride;
  const cost = { bytes: 8 * elements, operations: elements };
  if (device.kind === "cpu") {
    device.run(name, {
      arguments: [
        ...[from, to, channels, height, width, kernelHeight, kernelWidth],
        ...[layout.stride, padding, outHeight, outWidth, first, count, stride],
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
      ...{ step: layout.stride, padding, outHeight, outWidth, first, count, stride },
    }),
    grid: flatGrid(elements),
    cost,
  });
}

const rowsWebGpu: WebGpuKernel = { label: "conv2d patch rows", code: patchRowsKernel };
const columnsWebGpu: WebGpuKernel = { label: "conv2d patch columns", code: patchColumnsKernel };
const gatherWebGpu: WebGpuKernel = { label: "conv2d gather", code: gatherKernel };

export const conv2dVariants = (): WebGpuKernel[] => [rowsWebGpu, columnsWebGpu, gatherWebGpu];
