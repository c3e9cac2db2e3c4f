/** A checked matrix product, ready for a backend: what `matmul` hands to its launches. */
import type { Tensor } from "../../tensor/index.js";
import type { RowNorm } from "../rms-norm/rms-norm.js";
import type { WeightMatrix } from "./weight-matrix.js";

export type Activation = "none" | "silu" | "sigmoid" | "gelu";

export interface Residual {
  /** f32 [T, N']. */
  readonly tensor: Tensor;
  readonly alpha: number;
  readonly beta: number;
}

/**
 * z = x Wᵀ + bias; gate: z = activation(z[i]) · z[N' + i], else z = activation(z); then z · multiply; then
 * alpha · residual + beta · z. All tensors are f32; each is checked against the shape named beside it.
 */
export interface MatmulPlan {
  /** [T, K]. */
  readonly x: Tensor;
  /** N' rows, or 2 N' with `gate` (gate rows first). */
  readonly w: WeightMatrix;
  /** [T, N'], never the same memory as another operand. */
  readonly out: Tensor;
  /** Tokens, at least 1. */
  readonly T: number;
  /** Columns of x and of the weights, without padding. */
  readonly K: number;
  /** N': columns of the result. */
  readonly N: number;
  /** One value for each row of `w`. */
  readonly bias: Tensor | undefined;
  readonly activation: Activation;
  readonly gate: boolean;
  /** [T, N']. */
  readonly multiply: Tensor | undefined;
  /** The norm of the rows of `multiply`, where the launch folds it in. */
  readonly multiplyNorm?: RowNorm | undefined;
  /** The norm of the rows of x, where the launch folds it in; `out` [T, K] gets the normed rows. */
  readonly norm?: (RowNorm & { readonly out: Tensor }) | undefined;
  readonly residual: Residual | undefined;
  /** f16: products may be computed in float16 with float32 sums, where the device has matrix instructions for it. */
  readonly precision: "f32" | "f16";
}
