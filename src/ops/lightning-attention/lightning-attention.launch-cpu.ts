/** Lightning attention on the CPU: arguments, scratch and tasks of the kernels in lightning-attention.as.ts. */
import type { CpuDevice } from "../../device/index.js";
import { BLOCK_TOKENS, costOf, type LightningPlan } from "./plan.js";

/** Columns are shared out in whole cache lines. */
const LINE_COLUMNS = 16;

export function lightningOnCpu(device: CpuDevice, plan: LightningPlan): void {
  const { qkv, state, decay, out, heads, headDim, step } = plan;
  const states = step.rowCount * heads;
  // Columns of the state do not depend on each other: slices change who computes, never what.
  const wanted = Math.min(Math.ceil((2 * device.threads) / states), Math.ceil(headDim / LINE_COLUMNS));
  const sliceColumns =
    wanted > 1 && device.threads > 1 ? Math.ceil(headDim / wanted / LINE_COLUMNS) * LINE_COLUMNS : headDim;
  const slices = Math.ceil(headDim / sliceColumns);
  const bytes = step.isDecode ? 0 : scratchBytes(headDim, sliceColumns);
  const scratch = step.isDecode ? undefined : device.workerScratch(bytes);
  device.run(step.isDecode ? "lightningDecode" : "lightningPrefill", {
    arguments: [
      ...[qkv, state, decay, step.isDecode ? step.tokens : step.rows, out, scratch, bytes],
      ...[heads, headDim, slices, sliceColumns],
    ],
    tasks: states * slices,
    // Rows of a prefill step have different lengths.
    chunk: step.isDecode ? Math.ceil((states * slices) / (4 * device.threads)) : 1,
    cost: costOf(plan),
  });
}

const roundUp = (n: number, unit: number) => Math.ceil(n / unit) * unit;

/** The parts in the kernel's order: powers; a tile; A; q, k twice; v; the state's slice. */
function scratchBytes(headDim: number, sliceColumns: number): number {
  const channels = roundUp(headDim, 4);
  const columns = roundUp(Math.min(sliceColumns, headDim), 8);
  const floats =
    64 + 32 + BLOCK_TOKENS * BLOCK_TOKENS + 3 * BLOCK_TOKENS * channels + BLOCK_TOKENS * columns + channels * columns;
  return roundUp(4 * floats, 64);
}
