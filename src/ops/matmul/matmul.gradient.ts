/**
 * The gradient of the product z = x Wᵀ, and the product with its epilogue as separate operations for a tape.
 *
 *   dx = dz W          of weights of any kind: those of LoRA's base are frozen and may be narrow
 *   dW = dzᵀ x         of float32 weights
 *
 * WebGPU  products that read an operand by columns (./contraction): nothing is transposed. On matrix units x, dz and W are
 *         rounded to f16 if the matrix' precision allows it; numbers of dz beyond f16 become infinite, for a trainer that
 *         scales its loss to see.
 * CPU     the product of the forward pass on transposed operands: a transpose moves bytes that are few beside the product's
 *         operations.
 *
 * Axes  T tokens, K inputs, N outputs.
 */
import type { WebGpuDevice } from "../../device/index.js";
import { type Backward, empty, type Keep, type Tensor, zeros } from "../../tensor/index.js";
import { activate, addBias, gated, mix, multiply as product } from "../elementwise/elementwise.js";
import { rmsNorm } from "../rms-norm/rms-norm.js";
import { transpose } from "../transpose/transpose.js";
import { contract, contractsHalves } from "./contraction/contraction.js";
import type { MatmulOptions } from "./matmul.js";
import { halvesOf } from "./matmul.launch-webgpu.js";
import { COLUMN_BLOCK, matrixFromTensor, type WeightMatrix } from "./weight-matrix.js";
import { weightHalves, widened } from "./weights/widen.js";

type Plain = (x: Tensor, w: WeightMatrix) => Tensor;

const padded = (n: number) => Math.ceil(n / COLUMN_BLOCK) * COLUMN_BLOCK;

/** Gradients of [x, W's codes]; for narrow weights of x alone. */
export function plainBackward(x: Tensor, w: WeightMatrix, plain: Plain): (keep: Keep) => Backward {
  return (keep) => {
    const [codes, scales] = keep(w.codes, w.scales);
    const [kept] = w.kind === "f32" ? keep(x) : [undefined];
    // The matrix may be disposed of before the gradient passes; what the tape keeps may not.
    const own: WeightMatrix = { ...w, codes, scales };
    return ([dz], needs) => {
      if (!dz) return [];
      const { device } = dz;
      const [T = 0] = dz.shape;
      const dx = needs[0] ? empty(device, [T, w.columns]) : undefined;
      const hasPadding = w.rowStride !== w.columns;
      const dW = needs[1] && kept ? (hasPadding ? zeros : empty)(device, [w.rows, w.rowStride]) : undefined;
      const targets = { dx: dx && { out: dx }, dW: dW && kept && { out: dW, x: kept } };
      productGradients(dz, own, targets, plain);
      return [dx?.handOver(), dW?.handOver()];
    };
  };
}

interface Target {
  readonly out: Tensor;
  /** To what is there. */
  readonly accumulate?: boolean;
}

/** Where the gradients of a product go, those that are wanted. */
export interface ProductTargets {
  /** f32 [T, K]. */
  readonly dx?: Target | undefined;
  /** f32 [N, rowStride], whose padding stays as it is (zeros); x: f32 [T, K]. */
  readonly dW?: (Target & { readonly x: Tensor }) | undefined;
}

/** The gradients of z = x Wᵀ from dz, f32 [T, N]. @param plain the product itself, without a record. */
export function productGradients(dz: Tensor, w: WeightMatrix, targets: ProductTargets, plain: Plain): void {
  if (dz.device.kind === "webgpu") onWebGpu(dz.device, dz, w, targets);
  else onCpu(dz, w, targets, plain);
}

function onWebGpu(device: WebGpuDevice, dz: Tensor, w: WeightMatrix, { dx, dW }: ProductTargets): void {
  const [T = 0, N = 0] = dz.shape;
  const K = w.columns;
  const isHalves = contractsHalves(device, w.precision, [T, K, N]);
  using a = isHalves ? halvesOf(device, dz, false, "not finite") : dz.retain();
  if (dx) {
    using b = isHalves ? weightHalves(device, w) : widened(device, w);
    const operands = { a: { tensor: a, order: "rows" }, b: { tensor: b, order: "columns" } } as const;
    contract(device, { ...operands, M: T, N: K, K: N, ...dx });
  }
  if (dW) {
    using b = isHalves ? halvesOf(device, dW.x, false) : dW.x.retain();
    const operands = { a: { tensor: a, order: "columns" }, b: { tensor: b, order: "columns" } } as const;
    contract(device, { ...operands, M: N, N: K, K: T, ...dW });
  }
}

function onCpu(dz: Tensor, w: WeightMatrix, { dx, dW }: ProductTargets, plain: Plain): void {
  const { device } = dz;
  const [T = 0] = dz.shape;
  const put = (x: Tensor, w: WeightMatrix, { out, accumulate }: Target) => {
    using y = plain(x, w);
    if (accumulate) {
      using sum = mix(out, y, 1, 1);
      device.copy(sum, out);
    } else device.copy(y, out);
  };
  if (dx) {
    using wide = widened(device, w);
    using turned = matrixFromTensor(transpose(wide, { columns: w.columns, columnsOut: padded(w.rows) }), w.rows);
    put(dz, turned, dx);
  }
  if (dW) {
    using dzT = transpose(dz);
    // As many rows as W stores columns: the padding's gradient is zero.
    using xT = matrixFromTensor(transpose(dW.x, { rowsOut: w.rowStride, columnsOut: padded(T) }), T);
    put(dzT, xT, dW);
  }
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
