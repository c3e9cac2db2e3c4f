/** A residual branch: y = alpha · tensor + beta · f(x). Plain pre-norm layers have alpha = beta = 1. */
import type { Tensor } from "../tensor/index.js";

export interface Residual {
  readonly tensor: Tensor;
  readonly alpha: number;
  readonly beta: number;
}

/** A residual branch of a layer that norms its input: what it carries is the input itself, or the normed value (post-norm). */
export interface Branch {
  readonly carries: "input" | "normed";
  readonly alpha: number;
  readonly beta: number;
}

export const plainBranch: Branch = { carries: "input", alpha: 1, beta: 1 };

export const plainResidual = (tensor: Tensor): Residual => ({ tensor, alpha: 1, beta: 1 });
