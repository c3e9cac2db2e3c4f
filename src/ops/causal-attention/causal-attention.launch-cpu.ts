/** Launches the CPU kernels of causal attention. */
import { type CpuDevice, f32 } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import { type CausalBackwardTensors, type CausalPass, type CausalPlan, costOf, windowOf } from "./plan.js";

export function launchCausalCpu(device: CpuDevice, plan: CausalPlan, gradient?: CausalBackwardTensors): void {
  const { qkv, out, logSums, options, step } = plan;
  const T = step.tokenCount;
  const inputs = [qkv, step.tokens, step.rows];
  if (!gradient) {
    run(device, "forward", [...inputs, out, logSums], T * options.heads, plan);
    return;
  }
  const { dOut, dQkv, pulls } = gradient;
  run(device, "queries", [...inputs, out, logSums, dOut, dQkv, pulls], T * options.heads, plan);
  run(device, "keys", [...inputs, logSums, dOut, pulls, dQkv], T * options.kvHeads, plan);
}

function run(device: CpuDevice, pass: CausalPass, buffers: readonly Tensor[], tasks: number, plan: CausalPlan): void {
  const { options, step } = plan;
  const { heads, kvHeads, headDim, scale } = options;
  const bytes = Math.ceil((step.lengthBound * 4 + headDim * 8) / 64) * 64;
  device.run(`causalAttention${pass[0]!.toUpperCase()}${pass.slice(1)}`, {
    arguments: [
      ...buffers,
      ...[device.workerScratch(bytes), bytes, heads, kvHeads, headDim, windowOf(options), f32(scale), step.tokenCount],
    ],
    tasks,
    // Late tokens see more keys than early ones: small chunks even that out.
    chunk: 8,
    cost: costOf(pass, buffers, plan),
  });
}
