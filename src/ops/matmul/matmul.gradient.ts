/**
 * The gradient of the product z = x Wᵀ, and the product with its epilogue as separate operations for a tape.
 *
 *   dx = dz W          as the product of dz with the transposed matrix
 *   dW = dzᵀ x         as the product of dzᵀ with the transposed x
 *
 * Both are the same product that the forward pass uses, on transposed operands: a transpose moves bytes that are few beside
 * the product's operations, and every fast path serves training too.
 *
 * Axes  T tokens, K inputs, N outputs.
 */
import type { Backward, Keep, Tensor } from "../../tensor/index.js";
import { activate, addBias, gated, mix, multiply as product } from "../elementwise/elementwise.js";
import { rmsNorm } from "../rms-norm/rms-norm.js";
import { transpose } from "../transpose/transpose.js";
import type { MatmulOptions } from "./matmul.js";
import { COLUMN_BLOCK, matrixFromTensor, type WeightMatrix } from "./weight-matrix.js";

type Plain = (x: Tensor, w: WeightMatrix) => Tensor;

const padded = (n: number) => Math.ceil(n / COLUMN_BLOCK) * COLUMN_BLOCK;

/** Gradients of [x, W's codes]. Only float32 matrices have one of their own; for others dx alone is asked. */
export function plainBackward(x: Tensor, w: WeightMatrix, plain: Plain): (keep: Keep) => Backward {
  return (keep) => {
    const [x_, codes] = keep(x, w.codes);
    return ([dz], needs) => {
      if (!dz) return [];
      const [T = 0] = x_.shape;
      let dx: Tensor | undefined;
      let dW: Tensor | undefined;
      if (needs[0]) {
        using turned = matrixFromTensor(
          transpose(codes, { columns: w.columns, columnsOut: padded(w.rows) }),
          w.rows,
          w.precision,
        );
        dx = plain(dz, turned).handOver();
      }
      if (needs[1]) {
        using dzT = transpose(dz);
        // As many rows as W stores columns: the padding's gradient is zero.
        using xT = matrixFromTensor(transpose(x_, { rowsOut: w.rowStride, columnsOut: padded(T) }), T, w.precision);
        dW = plain(dzT, xT).handOver();
      }
      return [dx, dW];
    };
  };
}

/** The product and its epilogue, one recorded operation each. */
export function composedMatmul(x: Tensor, w: WeightMatrix, o: MatmulOptions, plain: Plain): Tensor {
  const activation = o.activation ?? (o.gate ? "silu" : "none");
  let y = plain(x, w);
  const next = (value: Tensor) => {
    y.dispose();
    y = value;
  };
  if (o.bias) next(addBias(y, o.bias));
  if (o.gate) {
    if (activation === "none") throw new RangeError("matmul: a gate without an activation has no gradient");
    next(gated(y, activation));
  } else if (activation !== "none") next(activate(y, activation));
  if (o.multiply) {
    if (o.multiplyNorm) {
      using factor = rmsNorm(o.multiply, o.multiplyNorm.weight, o.multiplyNorm);
      next(product(y, factor));
    } else next(product(y, o.multiply));
  }
  if (o.residual) next(mix(o.residual.tensor, y, o.residual.alpha, o.residual.beta));
  return y;
}
