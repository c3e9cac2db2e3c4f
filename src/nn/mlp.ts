/** The gated MLP of Llama-like layers: y = residual + (SiLU(m Wgateᵀ) ⊙ m Wupᵀ) Wdownᵀ. */
import { matmul, normedMatmul, type RowNorm, type WeightMatrix } from "../ops/index.js";
import type { Tensor } from "../tensor/index.js";
import type { Residual } from "./residual.js";

export interface MlpWeights {
  /** [2I, C]: gate rows, then up rows. */
  readonly gateUp: WeightMatrix;
  /** [C, I]. */
  readonly down: WeightMatrix;
}

/** @param norm applies to m first. */
export function gatedMlp(m: Tensor, w: MlpWeights, residual?: Residual, norm?: RowNorm): Tensor {
  using h = hidden(m, w, norm);
  return matmul(h, w.down, residual ? { residual } : {});
}

function hidden(m: Tensor, w: MlpWeights, norm: RowNorm | undefined): Tensor {
  const options = { gate: true, activation: "silu" } as const;
  if (!norm) return matmul(m, w.gateUp, options);
  const { normed, product } = normedMatmul(m, norm, w.gateUp, options);
  normed.dispose();
  return product;
}
