/** Launches the CPU kernel of lightning attention's gradient. */
import type { CpuDevice } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import type { LightningGradientInput } from "./plan.js";

/** Tokens of a chunk; the kernel has the same constant. */
const TILE = 32;

/** @param dState the gradient of the state behind the step; becomes that of the state before it. */
export function lightningGradientOnCpu(
  device: CpuDevice,
  { qkv, state, decay, dOut, step }: LightningGradientInput,
  dQkv: Tensor,
  dState: Tensor,
): void {
  const [, heads = 0, headDim = 0] = state.shape;
  const bytes = scratchBytes(headDim);
  device.run("lightningGradient", {
    arguments: [
      ...[qkv, dOut, state, decay, step.rows, dQkv, dState],
      ...[device.workerScratch(bytes), bytes, heads, headDim],
    ],
    // Each head of a row forwards, for dq, and backwards, for dk and dv.
    tasks: 2 * step.rowCount * heads,
    chunk: 1,
    cost: {
      bytes: 2 * qkv.byteLength + dOut.byteLength + 2 * state.byteLength,
      operations: step.tokenCount * heads * (10 * headDim ** 2 + 6 * headDim * TILE),
    },
  });
}

/** The parts in the kernel's order: decays and two panels; lines; matrices and results; the state twice. */
function scratchBytes(headDim: number): number {
  const channels = Math.ceil(headDim / 4) * 4;
  const columns = Math.ceil(headDim / 8) * 8;
  return Math.ceil((4 * (736 + TILE * (5 * channels + 4 * columns) + 2 * columns * channels)) / 64) * 64;
}
