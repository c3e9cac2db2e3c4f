/** Elementwise operations on both devices. */
import { f32, KeptKernels, type WebGpuKernel } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import { type ElementwiseName, elementwiseKernel, elementwiseParams, inputCount } from "./elementwise.wgsl.js";

export interface ElementwiseSizes {
  readonly alpha?: number;
  readonly beta?: number;
  /** Columns of the result, where rows matter. */
  readonly columns?: number;
  /** Rows of the input, where several make one of the result. */
  readonly rows?: number;
}

const kernels = new KeptKernels();

function kept(name: ElementwiseName, vectors: boolean): WebGpuKernel {
  return kernels.get(`${name} ${vectors}`, () => elementwiseKernel(name, vectors));
}

const isGatedGradient = (name: ElementwiseName) => name.endsWith("GatedGradient");

/** @param y the result; its elements, or those of the half-wide upstream gradient for gated ones, are the tasks. */
export function launchElementwise(
  name: ElementwiseName,
  inputs: readonly Tensor[],
  y: Tensor,
  sizes: ElementwiseSizes,
): void {
  const { alpha = 0, beta = 0, columns = y.size, rows = 0 } = sizes;
  const { device } = y;
  const size = isGatedGradient(name) ? y.size / 2 : y.size;
  if (size === 0) return;
  const bytes = inputs.reduce((sum, { byteLength }) => sum + byteLength, y.byteLength);
  const cost = { bytes, operations: size };
  if (device.kind === "cpu") {
    const [a, b, logits] = inputs;
    // A task is a block of a row: blocks do not depend on the number of threads.
    const perRow = Math.ceil(columns / BLOCK);
    device.run(`elementwise${name[0]!.toUpperCase()}${name.slice(1)}`, {
      arguments: [a, b, logits, y, columns, rows, f32(alpha), f32(beta), perRow],
      tasks: (size / columns) * perRow,
      cost,
    });
    return;
  }
  const vectors = columns % 4 === 0;
  const unit = vectors ? 4 : 1;
  const groups = Math.ceil(size / unit / 64);
  const width = Math.min(groups, 65_535);
  device.run(kept(name, vectors), {
    // What a kernel does not read is not bound.
    buffers: [...inputs.slice(0, inputCount(name)), ...inputs.slice(2), y],
    params: elementwiseParams.write({ elements: size / unit, columns: columns / unit, rows, alpha, beta }),
    grid: [width, Math.ceil(groups / width)],
    cost,
  });
}

/** Columns of a task. */
const BLOCK = 4096;
