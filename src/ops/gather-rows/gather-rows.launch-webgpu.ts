/** The last tokens on WebGPU. */
import type { WebGpuDevice } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import { GATHER_WORKGROUP, gatherRowsKernel, gatherRowsParams } from "./gather-rows.wgsl.js";

export function launchGatherRowsWebGpu(device: WebGpuDevice, x: Tensor, step: Step, y: Tensor): void {
  const rows = step.rowCount;
  const channels = y.size / rows;
  const height = Math.min(rows, device.limits.maxWorkgroupsPerDimension);
  device.run(gatherRowsKernel, {
    buffers: [x, step.rows, y],
    params: gatherRowsParams.write({ channels, tokens: step.tokenCount, rows }),
    grid: [Math.ceil(channels / GATHER_WORKGROUP), height, Math.ceil(rows / height)],
    cost: { bytes: 2 * y.byteLength, operations: 0 },
  });
}
