/** The embedding look-up on the CPU. */
import type { CpuDevice } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import type { WeightKind, WeightMatrix } from "../matmul/weight-matrix.js";
import { type Step, TOKEN_WORDS } from "../step/layout.js";

const kernels: Record<WeightKind, string> = {
  f32: "embeddingF32",
  f16: "embeddingF16",
  bf16: "embeddingBf16",
  int8: "embeddingInt8",
  int4: "embeddingInt4",
};

export function launchEmbeddingCpu(device: CpuDevice, step: Step, table: WeightMatrix, out: Tensor): void {
  const { codes, scales, rows, columns, rowStride, group } = table;
  const words = [step.tokens, TOKEN_WORDS, codes, scales, out, rows, columns, rowStride, Math.log2(group)];
  device.run(kernels[table.kind], {
    arguments: words,
    tasks: step.tokenCount,
    cost: { bytes: out.byteLength + (step.tokenCount * codes.byteLength) / rows, operations: 0 },
  });
}
