/** The gated MLP of Llama-like layers: y = residual + (SiLU(m Wgateᵀ) ⊙ m Wupᵀ) Wdownᵀ. */
import { matmul, type WeightMatrix } from "../ops/index.js";
import type { Tensor } from "../tensor/index.js";
import type { Residual } from "./residual.js";

export interface MlpWeights {
  /** [2I, C]: gate rows, then up rows. */
  readonly gateUp: WeightMatrix;
  /** [C, I]. */
  readonly down: WeightMatrix;
}

export function gatedMlp(m: Tensor, w: MlpWeights, residual?: Residual): Tensor {
  using h = matmul(m, w.gateUp, { gate: true, activation: "silu" });
  return matmul(h, w.down, residual ? { residual } : {});
}
