/** Launches the CPU kernels of lightning attention's gradient. */
import type { CpuDevice } from "../../device/index.js";
import { type Tensor, zeros } from "../../tensor/index.js";
import type { LightningGradientInput } from "./plan.js";

export function lightningGradientOnCpu(
  device: CpuDevice,
  { qkv, state, decay, dOut, dFinal, step }: LightningGradientInput,
  dQkv: Tensor,
  dState: Tensor,
): void {
  const [, heads = 0, headDim = 0] = state.shape;
  device.clear(dQkv);
  using none = zeros(device, state.shape);
  const after = dFinal ?? none;
  for (const at of [0, 1, 2]) {
    const initial = at === 0 ? state : after;
    const cost = {
      bytes: 2 * qkv.byteLength + state.byteLength,
      operations: 4 * step.tokenCount * heads * headDim ** 2,
    };
    const rowBytes = Math.ceil(headDim / 4) * 16;
    const bytes = Math.ceil((rowBytes * headDim) / 64) * 64;
    device.run("lightningSweep", {
      arguments: [
        ...[qkv, dOut, initial, decay, step.rows, dQkv, dState, device.workerScratch(bytes), bytes],
        ...[heads, headDim, at],
      ],
      tasks: step.rowCount * heads,
      chunk: 1,
      cost,
    });
  }
}
