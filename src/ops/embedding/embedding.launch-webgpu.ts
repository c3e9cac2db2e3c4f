/** The embedding look-up on WebGPU: one launch, or one for each piece of a table that exceeds a binding. */
import type { WebGpuDevice } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import type { WeightMatrix } from "../matmul/weight-matrix.js";
import { weightParamValues } from "../matmul/weights/load.wgsl.js";
import { codesOf, rowBytes, rowPieces, scalesOf } from "../matmul/weights/pieces.js";
import type { Step } from "../step/layout.js";
import { EMBEDDING_WORKGROUP, embeddingKernel, embeddingParams } from "./embedding.wgsl.js";

export function launchEmbeddingWebGpu(device: WebGpuDevice, step: Step, table: WeightMatrix, out: Tensor): void {
  const { rows, columns } = table;
  const tokens = step.tokenCount;
  const height = Math.min(tokens, device.limits.maxWorkgroupsPerDimension);
  for (const piece of rowPieces(table, device.limits)) {
    const boundRows = piece.end - piece.begin;
    const buffers = [step.tokens, codesOf(table, piece), scalesOf(table, piece), out];
    device.run(embeddingKernel(table.kind), {
      buffers: buffers.filter((buffer) => buffer !== undefined),
      params: embeddingParams.write({
        ...weightParamValues(table),
        columns,
        tokens,
        rows,
        firstRow: piece.begin,
        boundRows,
      }),
      grid: [Math.ceil(columns / 4 / EMBEDDING_WORKGROUP), height, Math.ceil(tokens / height)],
      cost: { bytes: out.byteLength + tokens * rowBytes(table), operations: 0 },
    });
  }
}
