/** Launches the WebGPU kernels of lightning attention's gradient. */

import type { WebGpuDevice, WebGpuKernel } from "../../device/index.js";
import { KeptKernels } from "../../device/index.js";
import { empty, type Tensor } from "../../tensor/index.js";
import { takesMatrixTiles } from "../causal-attention/tile-matrices.wgsl.js";
import { chunkSlots, scanGroups, scanKernel, statesKernel, stateTiles } from "./chunks.wgsl.js";
import { lightningGradientMatrixKernel } from "./gradient.matrix.wgsl.js";
import { gradientSlices, lightningGradientKernel } from "./lightning-attention.gradient.wgsl.js";
import { lightningParams } from "./lightning-attention.wgsl.js";
import { copyOf, folded, type LightningGradientInput } from "./plan.js";

const kernels = new KeptKernels();

/** @param dState the gradient of the state behind the step; becomes that of the state before it. */
export function lightningGradientOnWebGpu(
  device: WebGpuDevice,
  { qkv, state, states: known, decay, dOut, step, precision }: LightningGradientInput,
  dQkv: Tensor,
  dState: Tensor,
): void {
  const [, heads = 0, headDim = 0] = state.shape;
  const rows = step.rowCount;
  const chunks = chunkSlots(step.tokenCount, rows);
  const params = lightningParams.write({ heads, rows });
  const aTile = 2 * step.tokenCount * heads * headDim ** 2;
  // Known states stay as they are. Ours become the gradients' after they have been used.
  using states = empty(device, [chunks, heads, headDim * headDim], "f32", "lightning states");
  const sums = (isGradient: boolean) => {
    device.run(
      kernels.get(`sums ${headDim} ${isGradient}`, () => statesKernel({ headDim, walk: false, isGradient })),
      {
        buffers: [step.rows, decay, qkv, states, ...(isGradient ? [dOut] : [])],
        params,
        grid: [heads * stateTiles(headDim), ...folded(chunks)],
        cost: { bytes: (2 * qkv.byteLength) / 3 + states.byteLength, operations: aTile },
      },
    );
  };
  const scan = (from: Tensor, isReverse: boolean) => {
    device.run(
      kernels.get(`scan ${headDim} ${isReverse}`, () => scanKernel(headDim, isReverse)),
      {
        buffers: [step.rows, decay, from, states],
        params,
        grid: [scanGroups(heads, headDim), ...folded(rows)],
        cost: { bytes: 2 * states.byteLength, operations: 2 * states.size },
      },
    );
  };
  const finish = (pass: "queries" | "keys", states: Tensor) => {
    const products = pass === "queries" ? 1 : 2;
    const isMatrix = precision === "f16" && takesMatrixTiles(device, headDim);
    device.run(
      kernels.get(`${pass} ${headDim} ${isMatrix}`, () =>
        isMatrix ? lightningGradientMatrixKernel(pass, headDim) : lightningGradientKernel(pass, headDim),
      ),
      {
        buffers: [step.rows, decay, qkv, dOut, states, dQkv],
        params,
        grid: [heads * (isMatrix ? 1 : gradientSlices(headDim)), ...folded(chunks)],
        cost: {
          bytes: ((products + 4) * qkv.byteLength) / 3 + states.byteLength,
          operations: products * (aTile + 2 * step.tokenCount * heads * headDim * 64),
        },
      },
    );
  };
  if (!known) {
    sums(false);
    using end = copyOf(device, state); // the scan goes on to the state behind the step, which nobody wants
    scan(end, false);
  }
  finish("queries", known ?? states);
  sums(true);
  scan(dState, true);
  finish("keys", states);
}

/** Head sizes that stand for all. */
export function lightningGradientVariants(): WebGpuKernel[] {
  return (["queries", "keys"] as const).flatMap((pass) => [
    ...[1, 6, 8, 24, 64, 80, 128, 250].map((headDim) => lightningGradientKernel(pass, headDim)),
    ...[16, 32, 48, 64].map((headDim) => lightningGradientMatrixKernel(pass, headDim)),
  ]);
}
