/** Launches the CPU kernels of causal attention. */
import { type CpuDevice, f32 } from "../../device/index.js";
import { type CausalBackwardTensors, type CausalPass, type CausalPlan, costOf, windowOf } from "./plan.js";

/** Tokens of a tile; the kernels have the same constant. */
const TILE = 32;

export function launchCausalCpu(device: CpuDevice, plan: CausalPlan, gradient?: CausalBackwardTensors): void {
  if (!gradient) {
    run(device, "forward", plan);
    return;
  }
  run(device, "queries", plan, gradient);
  run(device, "keys", plan, gradient);
}

const kernels = {
  forward: "causalAttentionForward",
  queries: "causalAttentionQueries",
  keys: "causalAttentionKeys",
} as const;

function run(device: CpuDevice, pass: CausalPass, plan: CausalPlan, gradient?: CausalBackwardTensors): void {
  const { qkv, out, logSums, options, step } = plan;
  const { heads, kvHeads, headDim, scale } = options;
  const bytes = scratchBytes(headDim);
  const tensors = [qkv, step.rows, out, logSums, gradient?.dOut, gradient?.dQkv, gradient?.pulls];
  const tiles = Math.floor(step.tokenCount / TILE) + step.rowCount;
  device.run(kernels[pass], {
    arguments: [
      ...[...tensors, device.workerScratch(bytes), bytes],
      ...[step.rowCount, heads, kvHeads, headDim, windowOf(options), f32(scale)],
    ],
    tasks: tiles * (pass === "keys" ? kvHeads : heads),
    // Tiles see more or fewer others.
    chunk: 1,
    cost: costOf(
      pass,
      tensors.filter((tensor) => tensor !== undefined),
      plan,
    ),
  });
}

/** For keys, which need most: four tiles as lines, four as [channel / 8, 32, 8], and two panels. */
function scratchBytes(headDim: number): number {
  const channels = Math.ceil(headDim / 4) * 4;
  const columns = Math.ceil(headDim / 8) * 8;
  return 4 * (4 * TILE * channels + 4 * TILE * columns + 2 * TILE * 8 + 64);
}
