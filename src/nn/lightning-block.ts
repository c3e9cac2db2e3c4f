/**
 * Lightning attention of a decoder layer (MiniMax-M1; specification A2), from the input's norm to the output projection.
 *
 *   n = RMSNorm(x);  q, k, v = SiLU(n Wqkvᵀ) per head;  o = lightning(q, k, v; state)
 *   y = alpha · (x or n) + beta · (σ(n Wgateᵀ) ⊙ RMSNorm(o)) Woutᵀ
 *
 * The norm of o runs over all H·D channels together with its own eps; the gate comes from n, not from o.
 */
import { lightningAttention, matmul, normedMatmul, type RowNorm, type Step, type WeightMatrix } from "../ops/index.js";
import type { Tensor } from "../tensor/index.js";
import type { Branch } from "./residual.js";

/** eps of the norm inside lightning attention: 1e-6 in the release, whatever `rms_norm_eps` says (specification E4). */
export const LIGHTNING_NORM_EPS = 1e-6;

export interface LightningWeights {
  /** [3·H·D, C]; head h owns rows 3·D·h … as q, k, v. */
  readonly qkv: WeightMatrix;
  /** [H·D, C]. */
  readonly gate: WeightMatrix;
  /** [H·D]. */
  readonly norm: Tensor;
  /** [C, H·D]. */
  readonly output: WeightMatrix;
}

/**
 * @param state [slots, H, D, D] float32, updated in place.
 * @param decay [H]: the layer's slopes s; the state decays by exp(−s) per token.
 */
export function lightningBlock(
  x: Tensor,
  norm: RowNorm,
  w: LightningWeights,
  state: Tensor,
  decay: Tensor,
  { carries, alpha, beta }: Branch,
  step: Step,
): Tensor {
  const { normed, product } = normedMatmul(x, norm, w.qkv, { activation: "silu" });
  using n = normed;
  using qkv = product;
  using o = lightningAttention(qkv, state, decay, step, { precision: w.qkv.precision });
  const multiplyNorm = { weight: w.norm, eps: LIGHTNING_NORM_EPS };
  using gated = matmul(n, w.gate, { activation: "sigmoid", multiply: o, multiplyNorm });
  return matmul(gated, w.output, { residual: { tensor: carries === "normed" ? n : x, alpha, beta } });
}

/**
 * Slopes of the heads before the layer's factor. `official`: the release's rule (ALiBi; for head counts that are no power of
 * two, slopes of the next smaller power followed by every second one of the next larger). `geometric`: 2^(−8(h+1)/H) for every
 * count, as transformers' `minimax` has it (specification E1).
 */
export function lightningSlopes(heads: number, rule: "official" | "geometric"): number[] {
  const powers = (count: number) => Array.from({ length: count }, (_, h) => 2 ** ((-8 * (h + 1)) / count));
  if (rule === "geometric") return powers(heads);
  const lower = 2 ** Math.floor(Math.log2(heads));
  if (lower === heads) return powers(heads);
  const between = powers(2 * lower).filter((_, i) => i % 2 === 0);
  return [...powers(lower), ...between.slice(0, heads - lower)];
}

/** Factor of the slopes in layer `layer` of `layers` (0-based, counted over all layers; specification A2, E2). */
export function slopeFactor(layer: number, layers: number, rule: "official" | "geometric"): number {
  if (rule === "geometric") return 1 - layer / (layers - 1 + 1e-5) + 1e-5;
  // The release divides by zero for one layer; 1 + 1e-5 as in vLLM and SGLang.
  return layers === 1 ? 1 + 1e-5 : 1 - layer / (layers - 1) + 1e-5;
}
