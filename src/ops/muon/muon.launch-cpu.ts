/** Muon on the CPU: matrix by matrix. */
import { f32 } from "../../device/index.js";
import { empty, type Tensor } from "../../tensor/index.js";
import { matmul } from "../matmul/matmul.js";
import { COLUMN_BLOCK, matrixFromTensor } from "../matmul/weight-matrix.js";
import { transpose } from "../transpose/transpose.js";
import type { MuonTensor } from "./muon.js";
import { lengthOf, QUINTIC } from "./quintic.js";

/** Numbers of a task. */
const BLOCK = 4096;

const padded = (n: number) => Math.ceil(n / COLUMN_BLOCK) * COLUMN_BLOCK;

export function muonOnCpu(tensors: readonly MuonTensor[], record: Tensor, keep: number): void {
  for (const tensor of tensors) step(tensor, record, keep);
}

function step({ parameter, gradient, momentum, parts, rate, decay }: MuonTensor, record: Tensor, keep: number): void {
  const { device } = parameter;
  const [, stride = 0] = parameter.shape;
  using direction = empty(device, parameter.shape);
  launch("muonMomentum", [gradient, record, momentum, direction], { size: parameter.size, keep });
  for (const { first, rows, columns } of parts) {
    let x = empty(device, [rows, stride]);
    launch("muonNormalise", [direction, x], { size: x.size, first: first * stride });
    const next = (value: Tensor) => {
      x.dispose();
      x = value;
    };
    const isTall = rows > columns;
    if (isTall) next(transpose(x, { columns, columnsOut: padded(rows) }));
    for (let i = 0; i < QUINTIC.steps; i++) next(quintic(x));
    if (isTall) next(transpose(x, { columns: rows, columnsOut: stride }));
    launch("muonApply", [x, record, parameter], {
      ...{ size: x.size, first: first * stride },
      ...{ rate: rate * lengthOf(rows, columns), loss: rate * decay },
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
  using b = matmul(a, aPadded, { residual: { tensor: a, alpha: QUINTIC.b, beta: QUINTIC.c } });
  using turned = matrixFromTensor(transpose(x, { columnsOut: padded(R) }), R);
  return matmul(b, turned, { residual: { tensor: x, alpha: QUINTIC.a, beta: 1 } });
}

interface Sizes {
  readonly size: number;
  /** First number of a part. */
  readonly first?: number;
  readonly keep?: number;
  readonly rate?: number;
  readonly loss?: number;
}

type KernelName = "muonMomentum" | "muonNormalise" | "muonApply";

function launch(name: KernelName, buffers: readonly [Tensor, ...Tensor[]], sizes: Sizes): void {
  const [{ device }] = buffers;
  if (device.kind !== "cpu") return;
  const { size, first = 0, keep = 0, rate = 0, loss = 0 } = sizes;
  const [a, b, c, d] = buffers;
  device.run(name, {
    arguments: [a, b, c, d, size, first, f32(keep), f32(rate), f32(loss)],
    tasks: name === "muonNormalise" ? 1 : Math.ceil(size / BLOCK),
    cost: { bytes: 4 * size * buffers.length, operations: 3 * size },
  });
}
