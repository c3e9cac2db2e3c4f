/**
 * Muon: momentum, made orthogonal. In place, for matrices; a stacked matrix (q, k and v; the experts) is taken apart first.
 *
 *   M ← momentum · M + g',  g' = factor · g            factor of `globalNorm`
 *   U = g' + momentum · M                              (Nesterov)
 *   X = U / ‖U‖;  five times: A = X Xᵀ, X ← a X + (b A + c A²) X,  (a, b, c) = (3.4445, −4.7750, 2.0315)
 *   W ← W − rate · ( 0.2 √max(rows, columns) · X + decay · W )
 *
 * X has nearly the singular vectors of U, and singular values between 0.7 and 1.2. Nothing changes when the record says that
 * the norm was not finite.
 *
 * Axes      W: rows of a holder [N, stride] of which the first K columns count; the padding stays zero.
 * Precision float32. A tall matrix is turned, so that A is the smaller of the two.
 * Launches  on the CPU matrix by matrix, with products by `matmul`. On WebGPU a launch costs the host as much as the product
 *           of two small matrices takes: all matrices of one size are stacked, whichever tensors they belong to.
 * Source    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". The factor 0.2 √max(rows, columns),
 *           which makes a step as long as AdamW's, so that one rate serves both: Liu et al. 2025, arXiv 2502.16982.
 */
import { ShapeError, type Tensor } from "../../tensor/index.js";
import { COLUMN_BLOCK } from "../matmul/weight-matrix.js";
import { muonOnCpu } from "./muon.launch-cpu.js";
import { muonOnWebGpu } from "./muon.launch-webgpu.js";

export interface MuonOptions {
  /** Default 0.95. */
  readonly momentum?: number;
}

/** One tensor's part in a step. */
export interface MuonTensor {
  /** f32 [N, stride]. */
  readonly parameter: Tensor;
  readonly gradient: Tensor;
  /** Of the parameter's shape, zeros before the first step. */
  readonly momentum: Tensor;
  /** The matrices in it, which share no row. Rows that belong to none stay as they are. */
  readonly parts: readonly MuonPart[];
  readonly rate: number;
  readonly decay: number;
}

export interface MuonPart {
  readonly first: number;
  readonly rows: number;
  /** Columns that are not padding. */
  readonly columns: number;
}

/**
 * One step of every tensor.
 *
 * @param record that `globalNorm` has written for these gradients.
 * @throws {ShapeError} a gradient or momentum does not fit its parameter, or a part lies outside.
 *
 * Cost: of an R × C matrix, R ≤ C, about 10 · (2 R² C + R³) FLOPs. On WebGPU also memory for up to 256 MiB of matrices of one
 * size, twice, and for their A and B.
 */
export function muon(tensors: readonly MuonTensor[], record: Tensor, { momentum = 0.95 }: MuonOptions = {}): void {
  for (const tensor of tensors) check(tensor);
  if (record.device.kind === "cpu") muonOnCpu(tensors, record, momentum);
  else muonOnWebGpu(record.device, tensors, record, momentum);
}

function check({ parameter, gradient, momentum, parts }: MuonTensor): void {
  const [N, stride] = parameter.shape;
  if (N === undefined || stride === undefined || parameter.shape.length !== 2 || stride % COLUMN_BLOCK !== 0) {
    throw new ShapeError("muon", "parameter", `[N, multiple of ${COLUMN_BLOCK}]`, parameter.shape);
  }
  for (const [name, tensor] of Object.entries({ gradient, momentum })) {
    if (tensor.size !== parameter.size)
      throw new ShapeError("muon", name, `${parameter.size} numbers (as the parameter)`, tensor.shape);
  }
  for (const { first, rows, columns } of parts) {
    if (first + rows > N || columns > stride)
      throw new ShapeError("muon", "part", `rows and columns within [${N}, ${stride}]`, [first + rows, columns]);
  }
}
