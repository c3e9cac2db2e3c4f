/**
 * Floating-point operations that a step's mathematics needs, whatever the kernels do: what throughput is measured by.
 *
 *   6 · active parameters · tokens                        products, forward and backward (embedding look-ups are none)
 *   6 · H · D · length² a row and softmax layer           causal: half of the two products with [length, length]
 *   12 · H · D² · tokens a lightning layer                into the state and out of it
 *
 * Recomputation does not count: it is the kernels' choice.
 */
import type { LanguageModel } from "../models/index.js";

/** @param lengths tokens of the rows. */
export function trainingFlops(model: LanguageModel, lengths: readonly number[]): number {
  const { softmaxLayers, lightningLayers, lightningHeads, lightningHeadDim } = model.state;
  const tokens = lengths.reduce((a, b) => a + b, 0);
  const squares = lengths.reduce((sum, length) => sum + length * length, 0);
  // Columns of the output projection: the width of all query heads.
  const width = model.tensors?.find(({ name }) => /\.self_attn\.o_proj\.weight$/.test(name))?.shape[1] ?? 0;
  return (
    6 * model.parameters.active * tokens +
    6 * width * squares * softmaxLayers +
    12 * lightningHeads * lightningHeadDim ** 2 * tokens * lightningLayers
  );
}
