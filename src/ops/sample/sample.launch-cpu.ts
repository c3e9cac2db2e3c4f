/** Sampling on the CPU. Tasks are rows. */
import type { CpuDevice } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";

/** `BINS_BYTES` and `FOUND_BYTES` in sample.as.ts. */
const TABLE_BYTES = 256 * 8 + 64;

export function launchSampleCpu(
  device: CpuDevice,
  logits: Tensor,
  controls: Tensor,
  seen: Tensor,
  step: Step,
  probabilities: Tensor | undefined,
): void {
  const [rows = 0, vocabulary = 0] = logits.shape;
  // A row's penalised logits and its weights, whole vectors.
  const rowBytes = Math.ceil(vocabulary / 4) * 16;
  const workerBytes = Math.ceil((TABLE_BYTES + 2 * rowBytes) / 64) * 64;
  const scratch = device.workerScratch(workerBytes);
  device.run("sampleRows", {
    arguments: [logits, step.rows, controls, seen, probabilities, scratch, vocabulary, seen.shape[1] ?? 0, workerBytes],
    tasks: rows,
    chunk: 1,
    cost: { bytes: logits.byteLength + (probabilities?.byteLength ?? 0), operations: 16 * rows * vocabulary },
  });
}
