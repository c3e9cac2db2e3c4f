/**
 * Rows of a weight matrix by token id.
 *
 *   y[t, k] = W[id(t), k], or 0 where id(t) is no row of W
 *
 * Axes      T tokens, V rows (vocabulary), K columns; row-major. W: [V, K] of any kind; y: [T, K].
 * Precision float32 results: float kinds exactly, int8 and int4 as scale · code rounded once.
 * Gradient  embedding.gradient.ts, for float32 tables and steps that the host made.
 * Departs   an id out of range gives zeros rather than an error: ids are written by kernels, whom nobody can throw at.
 */
import { empty, record, type Tensor } from "../../tensor/index.js";
import type { WeightMatrix } from "../matmul/weight-matrix.js";
import type { Step } from "../step/layout.js";
import { embeddingBackward } from "./embedding.gradient.js";
import { launchEmbeddingCpu } from "./embedding.launch-cpu.js";
import { launchEmbeddingWebGpu } from "./embedding.launch-webgpu.js";

/**
 * The rows of `table` that the step's tokens name.
 *
 * @returns f32 [T, K].
 *
 * Cost: reads T rows, writes T·K floats.
 */
export function embedding(step: Step, table: WeightMatrix): Tensor {
  const { device } = table;
  if (step.tokens.device !== device) throw new TypeError("embedding: the step and the table live on different devices");
  const out = empty(device, [step.tokenCount, table.columns], "f32", "embedding");
  if (device.kind === "cpu") launchEmbeddingCpu(device, step, table, out);
  else launchEmbeddingWebGpu(device, step, table, out);
  const inputs = table.scales ? [table.codes, table.scales] : [table.codes];
  const { ids } = step;
  record("embedding", inputs, [out], ids && table.kind === "f32" ? embeddingBackward(ids, table) : undefined);
  return out;
}
