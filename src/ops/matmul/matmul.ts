/**
 * The product of activations with a weight matrix, and what usually follows it.
 *
 *   z[t, n] = Σ over k of x[t, k] · W[n, k] + bias[n]
 *   y       = activation(z);   with `gate` (W and bias hold 2 N' rows):  y[t, i] = activation(z[t, i]) · z[t, N' + i]
 *   y      ← y · multiply                    (if given)
 *   y      ← alpha · residual + beta · y     (if given)
 *
 * Axes      T tokens, K inputs, N' outputs; row-major. x: [T, K]; W: [N' or 2 N', K]; result, multiply, residual: [T, N'].
 * Precision activations and results are float32, sums accumulate in float32 (int8 and int4 weights on the CPU: exact
 *           integer sums over blocks of columns, with x rounded to 16 bits of the token's largest magnitude). gelu is
 *           the tanh form.
 * Source    gated form: Shazeer 2020, arXiv 2002.05202 (SwiGLU with activation silu). gelu: Hendrycks & Gimpel 2016,
 *           arXiv 1606.08415.
 * Gradient  matmul.gradient.ts: of x for weights of any kind, of float32 weights.
 * Departs   one contract covers the product and its epilogue, because reading and writing [T, N'] once more for each
 *           step costs as much as a small product.
 */
import { activeTape, empty, record, ShapeError, sameShape, type Tensor } from "../../tensor/index.js";
import { type RowNorm, rmsNorm } from "../rms-norm/rms-norm.js";
import { composedMatmul, plainBackward } from "./matmul.gradient.js";
import { canFoldMultiplyNormCpu, launchMatmulCpu } from "./matmul.launch-cpu.js";
import { canFoldMultiplyNorm, canFoldNorm, launchMatmulWebGpu } from "./matmul.launch-webgpu.js";
import type { Activation, MatmulPlan, Residual } from "./plan.js";
import type { WeightMatrix } from "./weight-matrix.js";

export interface MatmulOptions {
  /** f32, one value for each row of the weights. */
  readonly bias?: Tensor;
  /** Default "none"; with `gate` "silu". */
  readonly activation?: Activation;
  /** The first half of the weight rows gates the second half. */
  readonly gate?: boolean;
  /** f32 [T, N']. */
  readonly multiply?: Tensor;
  /** Norm of the rows of `multiply`, before it multiplies. */
  readonly multiplyNorm?: RowNorm;
  readonly residual?: Residual;
}

/**
 * y = activation(x Wᵀ + bias) with optional gate, multiply and residual; see the file's header.
 *
 * @param x f32 [T, K].
 * @returns f32 [T, N'], N' = rows of `w`, or half of them with `gate`.
 * @throws {ShapeError} a shape does not fit, or `gate` with an odd number of rows.
 *
 * Cost: 2·T·K·rows FLOPs; reads the weights once.
 */
export function matmul(x: Tensor, w: WeightMatrix, options: MatmulOptions = {}): Tensor {
  if (activeTape()) return composedMatmul(x, w, options, (x, w) => multiplied(x, w, {}, undefined));
  const { multiply, multiplyNorm, ...rest } = options;
  if (!multiply || !multiplyNorm || foldsMultiplyNorm(x, w, options)) return multiplied(x, w, options, undefined);
  using factor = rmsNorm(multiply, multiplyNorm.weight, multiplyNorm);
  return multiplied(x, w, { ...rest, multiply: factor }, undefined);
}

/**
 * n = RMSNorm(x) and the product with n: in one launch where rows are few and short, so that waiting for launches is what
 * costs.
 *
 * @returns f32 [T, K] and f32 [T, N'].
 */
export function normedMatmul(
  x: Tensor,
  norm: RowNorm,
  w: WeightMatrix,
  options: Omit<MatmulOptions, "multiplyNorm"> = {},
): { readonly normed: Tensor; readonly product: Tensor } {
  if (!foldsNorm(x, w, norm, options)) {
    const normed = rmsNorm(x, norm.weight, norm);
    return { normed, product: matmul(normed, w, options) };
  }
  const normed = empty(x.device, x.shape, "f32", "normed");
  return { normed, product: multiplied(x, w, options, { ...norm, out: normed }) };
}

function foldsNorm(x: Tensor, w: WeightMatrix, norm: RowNorm, options: MatmulOptions): boolean {
  const { device } = x;
  const [T = 0, K = 0] = x.shape;
  if (activeTape() !== undefined || K !== w.columns || !sameShape(norm.weight.shape, [K])) return false;
  return device.kind === "cpu" || canFoldNorm(device, w, T, options);
}

function foldsMultiplyNorm(x: Tensor, w: WeightMatrix, { multiplyNorm, ...options }: MatmulOptions): boolean {
  const { device } = x;
  const [T = 0] = x.shape;
  const N = options.gate ? w.rows / 2 : w.rows;
  if (activeTape() !== undefined || multiplyNorm === undefined || !sameShape(multiplyNorm.weight.shape, [N]))
    return false;
  if (device.kind === "cpu") return canFoldMultiplyNormCpu(w, T, N);
  return canFoldMultiplyNorm(device, w, T, options);
}

function multiplied(x: Tensor, w: WeightMatrix, options: MatmulOptions, norm: MatmulPlan["norm"]): Tensor {
  const { bias, multiply, multiplyNorm, residual, gate = false } = options;
  const [T, K] = x.shape;
  if (T === undefined || K === undefined || x.shape.length !== 2 || T < 1 || K !== w.columns) {
    throw new ShapeError("matmul", "x", `[T ≥ 1, K=${w.columns}] (as the weights)`, x.shape);
  }
  if (gate && w.rows % 2 !== 0) {
    throw new ShapeError("matmul", "w", "an even number of rows (gate rows, then up rows)", [w.rows, w.columns]);
  }
  const N = gate ? w.rows / 2 : w.rows;
  if (x.device !== w.device) throw new TypeError("matmul: x and the weights live on different devices");
  checkOperand("x", x, [T, K], x);
  checkOperand("bias", bias, [w.rows], x);
  checkOperand("multiply", multiply, [T, N], x);
  checkOperand("residual", residual?.tensor, [T, N], x);

  const out = empty(x.device, [T, N], "f32", "matmul");
  const activation = options.activation ?? (gate ? "silu" : "none");
  const { precision } = w;
  const operands = { bias, activation, gate, multiply, multiplyNorm, norm, residual };
  const plan: MatmulPlan = { x, w, out, T, K, N, ...operands, precision };
  const { device } = x;
  if (device.kind === "cpu") launchMatmulCpu(device, plan);
  else launchMatmulWebGpu(device, plan);

  if (!activeTape()) return out;
  // Under a tape the epilogue's parts are operations of their own.
  const inputs = [x, w.codes, w.scales, bias, multiply, residual?.tensor].filter((t) => t !== undefined);
  const isPlain = !bias && !multiply && !residual && activation === "none" && !norm;
  const plain = (x: Tensor, w: WeightMatrix) => multiplied(x, w, {}, undefined);
  record("matmul", inputs, [out], isPlain ? plainBackward(x, w, plain) : undefined);
  return out;
}

function checkOperand(name: string, tensor: Tensor | undefined, shape: readonly number[], x: Tensor): void {
  if (tensor === undefined) return;
  if (tensor.dtype !== "f32") throw new TypeError(`matmul: ${name} expected f32, got ${tensor.dtype}`);
  if (tensor.device !== x.device) throw new TypeError(`matmul: ${name} lives on another device than x`);
  if (!sameShape(tensor.shape, shape)) {
    throw new ShapeError("matmul", name, `[${shape.join(", ")}]`, tensor.shape);
  }
}
