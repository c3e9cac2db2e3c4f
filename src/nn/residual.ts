/** A residual branch: y = alpha · tensor + beta · f(x). Plain pre-norm layers have alpha = beta = 1. */
import type { Tensor } from "../tensor/index.js";

export interface Residual {
  readonly tensor: Tensor;
  readonly alpha: number;
  readonly beta: number;
}

export const plainResidual = (tensor: Tensor): Residual => ({ tensor, alpha: 1, beta: 1 });
