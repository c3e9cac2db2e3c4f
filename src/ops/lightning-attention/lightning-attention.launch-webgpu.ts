/** Chooses and launches the WebGPU kernels of lightning attention. */

import type { WebGpuDevice, WebGpuKernel } from "../../device/index.js";
import { KeptKernels } from "../../device/index.js";
import { empty, type Tensor } from "../../tensor/index.js";
import {
  chunkSlots,
  outputSlices,
  outputsKernel,
  scanGroups,
  scanKernel,
  statesKernel,
  stateTiles,
} from "./chunks.wgsl.js";
import { decodeKernel, decodeSlices, lightningParams } from "./lightning-attention.wgsl.js";
import { costOf, folded, type LightningPlan } from "./plan.js";

/** Fewer workgroups than this leave a big GPU idle (132 multiprocessors in an H100). */
const ENOUGH_WORKGROUPS = 128;

const kernels = new KeptKernels();

/**
 * @param busyWorkgroups with fewer, rows are not walked: their chunks are taken side by side, and a scan follows.
 * @returns the states before all chunks, [chunk, H, D·D], which the caller owns; none in a decode step.
 */
export function lightningOnWebGpu(
  device: WebGpuDevice,
  plan: LightningPlan,
  busyWorkgroups = device.isSoftware ? 0 : ENOUGH_WORKGROUPS,
): Tensor | undefined {
  const { qkv, state, decay, out, heads, headDim, step } = plan;
  const rows = step.rowCount;
  const params = lightningParams.write({ heads, rows });
  if (step.isDecode) {
    const height = Math.min(rows, device.limits.maxWorkgroupsPerDimension);
    device.run(
      kernels.get(`decode ${headDim}`, () => decodeKernel({ headDim })),
      {
        buffers: [step.tokens, decay, qkv, state, out],
        params,
        grid: [heads * decodeSlices({ headDim }), height, Math.ceil(rows / height)],
        cost: costOf(plan),
      },
    );
    return undefined;
  }
  const chunks = chunkSlots(step.tokenCount, rows);
  const states = empty(device, [chunks, heads, headDim * headDim], "f32", "lightning states");
  const cost = costOf(plan);
  const stateBytes = (2 * qkv.byteLength) / 3 + states.byteLength;
  const tiles = heads * stateTiles(headDim);
  const walk = tiles * rows >= busyWorkgroups;
  device.run(
    kernels.get(`states ${headDim} ${walk}`, () => statesKernel({ headDim, walk })),
    {
      buffers: walk ? [step.rows, decay, qkv, states, state] : [step.rows, decay, qkv, states],
      params,
      grid: [tiles, ...folded(walk ? rows : chunks)],
      cost: { bytes: stateBytes, operations: 2 * step.tokenCount * heads * headDim ** 2 },
    },
  );
  if (!walk) {
    device.run(
      kernels.get(`scan ${headDim}`, () => scanKernel(headDim)),
      {
        buffers: [step.rows, decay, state, states],
        params,
        grid: [scanGroups(heads, headDim), ...folded(rows)],
        cost: { bytes: 2 * states.byteLength, operations: 2 * states.size },
      },
    );
  }
  device.run(
    kernels.get(`outputs ${headDim}`, () => outputsKernel(headDim)),
    {
      buffers: [step.rows, decay, qkv, states, out],
      params,
      grid: [heads * outputSlices(headDim), ...folded(chunks)],
      cost: {
        bytes: qkv.byteLength + states.byteLength + out.byteLength,
        operations: cost.operations - 2 * step.tokenCount * heads * headDim ** 2,
      },
    },
  );
  return states;
}

/** All kernels at head sizes that stand for all: smallest, odd, multiples of four and of 32, the largest. */
export function lightningAttentionVariants(): WebGpuKernel[] {
  return [1, 7, 8, 24, 64, 80, 96, 128, 132, 250, 256].flatMap((headDim) => [
    decodeKernel({ headDim }),
    statesKernel({ headDim, walk: true }),
    statesKernel({ headDim, walk: false }),
    statesKernel({ headDim, walk: false, isGradient: true }),
    scanKernel(headDim),
    scanKernel(headDim, true),
    outputsKernel(headDim),
  ]);
}
