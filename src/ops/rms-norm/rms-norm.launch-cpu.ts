/** RMS normalisation on the CPU. */
import { type CpuDevice, f32 } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";

export function launchRmsNormCpu(device: CpuDevice, x: Tensor, weight: Tensor, y: Tensor, eps: number): void {
  const channels = weight.size;
  device.run("rmsNorm", {
    arguments: [x, weight, y, channels, f32(eps)],
    tasks: x.size / channels,
    cost: { bytes: x.byteLength + weight.byteLength + y.byteLength, operations: 4 * x.size },
  });
}
