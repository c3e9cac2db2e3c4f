/** Launches the WebGPU kernels of causal attention. */

import type { WebGpuDevice, WebGpuKernel } from "../../device/index.js";
import { KeptKernels } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import { causalMatrixKernel } from "./causal-attention.matrix.wgsl.js";
import { attentionParams, causalKernel, causalSlices } from "./causal-attention.wgsl.js";
import { type CausalBackwardTensors, type CausalPass, type CausalPlan, costOf, windowOf } from "./plan.js";
import { takesMatrixTiles } from "./tile-matrices.wgsl.js";
import { tileSlots } from "./tile-products.wgsl.js";

export function launchCausalWebGpu(device: WebGpuDevice, plan: CausalPlan, gradient?: CausalBackwardTensors): void {
  const { qkv, out, logSums, step } = plan;
  if (!gradient) {
    run(device, "forward", [step.rows, qkv, out, logSums], plan);
    return;
  }
  const { dOut, dQkv, pulls } = gradient;
  run(device, "queries", [step.rows, qkv, dOut, logSums, pulls, dQkv, out], plan);
  run(device, "keys", [step.rows, qkv, dOut, logSums, pulls, dQkv], plan);
}

function run(device: WebGpuDevice, pass: CausalPass, buffers: readonly Tensor[], plan: CausalPlan): void {
  const { options, step } = plan;
  const { heads, kvHeads, headDim, scale, precision } = options;
  const isMatrix = precision === "f16" && takesMatrixTiles(device, headDim);
  const rows = step.rowCount;
  const tiles = tileSlots(step.tokenCount, rows);
  const height = Math.min(tiles, device.limits.maxWorkgroupsPerDimension);
  device.run(kept(pass, headDim, isMatrix), {
    buffers,
    params: attentionParams.write({ heads, kvHeads, rows, window: windowOf(options), scale }),
    grid: [(pass === "keys" ? kvHeads : heads) * causalSlices(pass, headDim), height, Math.ceil(tiles / height)],
    cost: costOf(pass, buffers, plan),
  });
}

const kernels = new KeptKernels();

function kept(pass: CausalPass, headDim: number, isMatrix = false): WebGpuKernel {
  const make = isMatrix ? causalMatrixKernel : causalKernel;
  return kernels.get(`${pass} ${headDim} ${isMatrix}`, () => make(pass, headDim));
}

/** Head sizes that stand for all: below a piece, odd, multiples of four, one slice and several, the largest. */
export function causalAttentionVariants(): WebGpuKernel[] {
  return (["forward", "queries", "keys"] as const).flatMap((pass) => [
    ...[1, 6, 8, 12, 64, 80, 96, 128, 132, 250, 256].map((headDim) => kept(pass, headDim)),
    ...[16, 32, 48, 64].map((headDim) => kept(pass, headDim, true)),
  ]);
}
