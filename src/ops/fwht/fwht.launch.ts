/** Launches of fwht on either device. */
import { f32, KeptKernels } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import { fwhtKernel, fwhtParams } from "./fwht.wgsl.js";

export function launchFwht(x: Tensor, y: Tensor, channels: number, width: number): void {
  const { device } = x;
  const rows = x.size / channels;
  const cost = { bytes: 2 * x.byteLength, operations: x.size * Math.log2(width) };
  if (device.kind === "cpu") {
    device.run("fwht", { arguments: [x, y, channels, width, f32(1 / Math.sqrt(width))], tasks: rows, cost });
    return;
  }
  const across = Math.min(rows, 65_535);
  device.run(kernels.of(fwhtKernel, { channels, width }), {
    buffers: [x, y],
    params: fwhtParams.write({ rows }),
    grid: [across, Math.ceil(rows / across)],
    cost,
  });
}

const kernels = new KeptKernels();
