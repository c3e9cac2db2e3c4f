/** Sampling on WebGPU: one launch, a workgroup a row. */
import type { WebGpuDevice } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import { sampleKernel, sampleParams } from "./sample.wgsl.js";

/** Sixteen logits for each of 64 lanes. */
const SMALL_VOCABULARY = 1024;

export function launchSampleWebGpu(
  device: WebGpuDevice,
  logits: Tensor,
  controls: Tensor,
  seen: Tensor,
  step: Step,
  probabilities: Tensor | undefined,
): void {
  const [rows = 0, vocabulary = 0] = logits.shape;
  // Indices 0 … V − 1 are descended through three bits at a time.
  const digits = Math.max(1, Math.ceil((32 - Math.clz32(vocabulary - 1)) / 3));
  const height = Math.ceil(rows / device.limits.maxWorkgroupsPerDimension);
  const kernel = sampleKernel({
    result: probabilities ? "probabilities" : "token",
    lanes: vocabulary <= SMALL_VOCABULARY ? 64 : 256,
  });
  device.run(kernel, {
    buffers: [logits, step.rows, seen, controls, ...(probabilities ? [probabilities] : [])],
    params: sampleParams.write({ vocabulary, rows, seenWords: seen.shape[1] ?? 0, indexShift: 3 * (digits - 1) }),
    grid: [Math.ceil(rows / height), height],
    cost: { bytes: logits.byteLength + (probabilities?.byteLength ?? 0), operations: 16 * rows * vocabulary },
  });
}
