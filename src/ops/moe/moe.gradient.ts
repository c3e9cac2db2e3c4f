/**
 * The gradient of the weighted sum of experts, with a = SiLU(g) ⊙ u of each (token t, choice j) = pair p:
 *
 *   dA[p] = W2[e]ᵀ dy[t];           dw[p] = a[p] · dA[p]                       (to the routing)
 *   dg, du = w[p] · dA ⊙ gradients of SiLU(g) ⊙ u
 *   dx[t] = Σ over the token's pairs of W1[e]ᵀ dg + W3[e]ᵀ du
 *   dW1, dW3 of expert e = Σ over its pairs of dg xᵀ, du xᵀ;   dW2 = Σ dy (w[p] a)ᵀ
 *
 * Pairs are sorted by expert, each expert's *places* beginning at a multiple of a tile, and all products are those of tiles of
 * one expert's places. g and u are computed again; nothing but the operands is kept. Sums over an expert's pairs go in the
 * tokens' order; the gradient of an expert that nobody chose is zero.
 *
 * Axes      as in moe.ts; pairs p = t·k + j.
 * Precision float32; on matrix units operands are rounded to f16 where both weights' precision allows it, numbers of a
 *           gradient beyond f16 becoming infinite or NaN. Frozen experts may be narrow: then x and the routing have gradients.
 */
import type { Backward, Keep, Tensor } from "../../tensor/index.js";
import type { WeightMatrix } from "../matmul/weight-matrix.js";
import { expertGradientsCpu } from "./moe.gradient.launch-cpu.js";
import { expertGradientsWebGpu } from "./moe.gradient.launch-webgpu.js";
import type { MoePlan } from "./plan.js";

export interface ExpertOperands {
  /** f32 [T, H]. */
  readonly x: Tensor;
  readonly dy: Tensor;
  /** Of the routes: f32 and i32 [T, k]. */
  readonly weights: Tensor;
  readonly experts: Tensor;
  readonly gateUp: WeightMatrix;
  readonly down: WeightMatrix;
  readonly T: number;
  readonly H: number;
  readonly I: number;
  readonly E: number;
  readonly topK: number;
  readonly wants: { readonly x: boolean; readonly gateUp: boolean; readonly down: boolean };
}

export interface ExpertGradients {
  readonly dx: Tensor | undefined;
  readonly dWeights: Tensor;
  readonly dGateUp: Tensor | undefined;
  readonly dDown: Tensor | undefined;
}

/** For `record`, with the inputs [x, weights of the routes, codes of gateUp, codes of down]. */
export function mixtureBackward(plan: MoePlan): (keep: Keep) => Backward {
  const { T, H, I, experts: E, topK, gateUp, down } = plan;
  return (keep) => {
    const [x, weights, experts] = keep(plan.x, plan.routes.weights, plan.routes.experts);
    const own = (w: WeightMatrix): WeightMatrix => {
      const [codes, scales] = keep(w.codes, w.scales);
      return { ...w, codes, scales };
    };
    const operands = { x, weights, experts, gateUp: own(gateUp), down: own(down), T, H, I, E, topK };
    return ([dy], needs) => {
      if (!dy) return [];
      const { device } = x;
      const wants = {
        x: needs[0] === true,
        gateUp: needs[2] === true && gateUp.kind === "f32",
        down: needs[3] === true && down.kind === "f32",
      };
      const o: ExpertOperands = { ...operands, dy, wants };
      const { dx, dWeights, dGateUp, dDown } =
        device.kind === "cpu" ? expertGradientsCpu(device, o) : expertGradientsWebGpu(device, o);
      return [dx, dWeights, dGateUp, dDown].map((tensor) => tensor?.handOver());
    };
  };
}
