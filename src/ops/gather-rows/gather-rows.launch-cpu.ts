/** The last tokens on the CPU. */
import type { CpuDevice } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";

export function launchGatherRowsCpu(device: CpuDevice, x: Tensor, step: Step, y: Tensor): void {
  device.run("gatherLastTokens", {
    arguments: [x, step.rows, y, y.size / step.rowCount, step.tokenCount],
    tasks: step.rowCount,
    cost: { bytes: 2 * y.byteLength, operations: 0 },
  });
}
