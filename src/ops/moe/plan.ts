/** A checked expert layer, ready for a backend: what `moe` hands to its launches. */
import type { Tensor } from "../../tensor/index.js";
import type { Residual } from "../matmul/plan.js";
import type { WeightMatrix } from "../matmul/weight-matrix.js";
import type { RowNorm } from "../rms-norm/rms-norm.js";
import type { Routes } from "../route-experts/route-experts.js";

/** What joins the weighted sum of the experts. */
interface Mix {
  /** The shared expert's result [T, H], mixed in by `sigmoid(coefficient)` ([T, 1]), or added where there is none. */
  readonly shared: { readonly output: Tensor; readonly coefficient?: Tensor } | undefined;
  readonly residual: Residual | undefined;
}

/** Norm, router and routing that the launches of the experts do, too. */
export interface RoutingFold {
  /** f32 [T, H], before the norm; the plan's `x` and `routes` get what comes of it. */
  readonly x: Tensor;
  readonly norm: RowNorm;
  readonly router: WeightMatrix;
  readonly normalise: boolean;
}

export interface MoePlan extends Mix {
  /** f32 [T, H]. */
  readonly x: Tensor;
  readonly fold?: RoutingFold | undefined;
  /** [E · 2 I, H]: for each expert I gate rows, then I up rows. */
  readonly gateUp: WeightMatrix;
  /** [E · H, I]. */
  readonly down: WeightMatrix;
  readonly routes: Routes;
  /** f32 [T k, I]: the first products of the chosen experts, where the routing's launch computed them. Few tokens only. */
  readonly inner?: Tensor | undefined;
  /** f32 [T, H], never the same memory as another operand. */
  readonly out: Tensor;
  readonly T: number;
  readonly H: number;
  readonly I: number;
  /** E. */
  readonly experts: number;
  /** k. */
  readonly topK: number;
}
