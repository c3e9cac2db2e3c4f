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
 * Precision float32; products by `matmul`. A tall matrix is turned, so that A is the smaller of the two.
 * Source    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". The factor 0.2 √max(rows, columns),
 *           which makes a step as long as AdamW's, so that one rate serves both: Liu et al. 2025, arXiv 2502.16982.
 */
import { f32 } from "../../device/index.js";
import { empty, ShapeError, type Tensor } from "../../tensor/index.js";
import { matmul } from "../matmul/matmul.js";
import { COLUMN_BLOCK, matrixFromTensor } from "../matmul/weight-matrix.js";
import { transpose } from "../transpose/transpose.js";
import { muonKernel, muonParams } from "./muon.wgsl.js";

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
  /** The matrices in it. Rows that belong to none stay as they are. */
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

/** The quintic's coefficients (Jordan et al.). */
const [A, B, C] = [3.4445, -4.775, 2.0315];
const STEPS = 5;
/** Numbers of a task. */
const BLOCK = 4096;

const padded = (n: number) => Math.ceil(n / COLUMN_BLOCK) * COLUMN_BLOCK;

/**
 * One step of every tensor.
 *
 * @param record that `globalNorm` has written for these gradients.
 * @throws {ShapeError} a gradient or momentum does not fit its parameter, or a part lies outside.
 *
 * Cost: of an R × C matrix, R ≤ C, about 10 · (2 R² C + R³) FLOPs.
 */
export function muon(tensors: readonly MuonTensor[], record: Tensor, { momentum = 0.95 }: MuonOptions = {}): void {
  for (const tensor of tensors) step(tensor, record, momentum);
}

function step({ parameter, gradient, momentum: kept, parts, rate, decay }: MuonTensor, record: Tensor, keep: number) {
  const { device } = parameter;
  const [N, stride] = parameter.shape;
  if (N === undefined || stride === undefined || parameter.shape.length !== 2 || stride % COLUMN_BLOCK !== 0) {
    throw new ShapeError("muon", "parameter", `[N, multiple of ${COLUMN_BLOCK}]`, parameter.shape);
  }
  for (const [name, tensor] of Object.entries({ gradient, momentum: kept })) {
    if (tensor.size !== parameter.size)
      throw new ShapeError("muon", name, `${parameter.size} numbers (as the parameter)`, tensor.shape);
  }
  using direction = empty(device, parameter.shape);
  launch("momentum", [gradient, record, kept, direction], { size: parameter.size, keep });
  for (const { first, rows, columns } of parts) {
    if (first + rows > N || columns > stride)
      throw new ShapeError("muon", "part", `rows and columns within [${N}, ${stride}]`, [first + rows, columns]);
    let x = empty(device, [rows, stride]);
    launch("normalise", [direction, x], { size: x.size, first: first * stride });
    const next = (value: Tensor) => {
      x.dispose();
      x = value;
    };
    const isTall = rows > columns;
    if (isTall) next(transpose(x, { columns, columnsOut: padded(rows) }));
    for (let i = 0; i < STEPS; i++) next(quintic(x));
    if (isTall) next(transpose(x, { columns: rows, columnsOut: stride }));
    const size = 0.2 * Math.sqrt(Math.max(rows, columns));
    launch("apply", [x, record, parameter], {
      ...{ size: x.size, first: first * stride },
      ...{ rate: rate * size, loss: rate * decay },
    });
    x.dispose();
  }
}

/** a X + (b A + c A²) X with A = X Xᵀ. @param x [R, multiple of 32]. */
function quintic(x: Tensor): Tensor {
  const [R = 0, stride = 0] = x.shape;
  using w = matrixFromTensor(x.retain(), stride);
  using a = matmul(x, w);
  // A is symmetric: its transpose is itself, with the padding that a weight has.
  using aPadded = matrixFromTensor(
    R % COLUMN_BLOCK === 0 ? a.reshape([R, R]) : transpose(a, { columnsOut: padded(R) }),
    R,
  );
  using b = matmul(a, aPadded, { residual: { tensor: a, alpha: B, beta: C } });
  using turned = matrixFromTensor(transpose(x, { columnsOut: padded(R) }), R);
  return matmul(b, turned, { residual: { tensor: x, alpha: A, beta: 1 } });
}

interface Sizes {
  readonly size: number;
  /** First number of a part. */
  readonly first?: number;
  readonly keep?: number;
  readonly rate?: number;
  readonly loss?: number;
}

function launch(name: "momentum" | "normalise" | "apply", buffers: readonly Tensor[], sizes: Sizes): void {
  const [{ device }] = buffers as [Tensor];
  const { size, first = 0, keep = 0, rate = 0, loss = 0 } = sizes;
  const blocks = name === "normalise" ? 1 : Math.ceil(size / BLOCK);
  const cost = { bytes: 4 * size * buffers.length, operations: 3 * size };
  if (device.kind === "cpu") {
    const [a, b, c, d] = buffers;
    device.run(`muon${name[0]?.toUpperCase()}${name.slice(1)}`, {
      arguments: [a, b, c, d, size, first, f32(keep), f32(rate), f32(loss)],
      tasks: blocks,
      cost,
    });
    return;
  }
  const width = Math.min(blocks, 65_535);
  device.run(muonKernel(name), {
    buffers: [...buffers],
    params: muonParams.write({ size, first, keep, rate, loss }),
    grid: [width, Math.ceil(blocks / width)],
    cost,
  });
}
