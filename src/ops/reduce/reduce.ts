/**
 * Sums and means over axes, and their adjoint.
 *
 *   sumAxes(x, axes)          y = Σ over the axes of x
 *   meanAxes(x, axes)         the same, divided by how many there are
 *   repeatAxis(y, axis, R)    x[…, r, …] = y[…, …] for r < R: a new axis at this place
 *
 * Precision float32. Sums of more than 64 numbers go in stages of 64, so that long ones lose no digits; the order is the same on every device
 *           and with any number of threads.
 * Gradient  each is the other's.
 */
import { f32, type WebGpuKernel } from "../../device/index.js";
import { empty, record, ShapeError, sizeOf, type Tensor } from "../../tensor/index.js";
import { flatGrid } from "../flat-grid.js";
import { repeatKernel, repeatParams, sumKernel, sumParams } from "./reduce.wgsl.js";

/** @param x f32. @param axes which axes go; all of them leave [1]. @throws {ShapeError} an axis that x has not. */
export function sumAxes(x: Tensor, axes: readonly number[]): Tensor {
  return reduced("sumAxes", x, axes, 1);
}

/** The mean over axes, as `sumAxes`. */
export function meanAxes(x: Tensor, axes: readonly number[]): Tensor {
  const count = axes.reduce((product, axis) => product * (x.shape[axis] ?? 1), 1);
  return reduced("meanAxes", x, axes, 1 / count);
}

/** @param y f32. @param axis place of the new axis, 0 … rank. @throws {ShapeError} */
export function repeatAxis(y: Tensor, axis: number, count: number): Tensor {
  if (y.dtype !== "f32") throw new TypeError(`repeatAxis: expected f32, got ${y.dtype}`);
  const { shape } = y;
  if (!Number.isInteger(axis) || axis < 0 || axis > shape.length || !Number.isInteger(count) || count < 1) {
    throw new ShapeError("repeatAxis", "y", `axis ${axis} of 0 to ${shape.length}, count ${count} ≥ 1`, shape);
  }
  using rows = y.reshape([sizeOf(shape.slice(0, axis)), sizeOf(shape.slice(axis))]);
  using x = repeatMiddle(rows, count, 1);
  return x.reshape([...shape.slice(0, axis), count, ...shape.slice(axis)]);
}

function reduced(where: string, x: Tensor, axes: readonly number[], scale: number): Tensor {
  const { shape } = x;
  const sorted = [...axes].sort((a, b) => a - b);
  const isSet = sorted.every(
    (axis, i) => Number.isInteger(axis) && axis >= 0 && axis < shape.length && axis !== sorted[i - 1],
  );
  if (!isSet || sorted.length === 0) {
    throw new ShapeError(where, "x", `at least one axis, each once, of [${axes.join(", ")}]`, shape);
  }
  if (x.dtype !== "f32") throw new TypeError(`${where}: expected f32, got ${x.dtype}`);
  // Neighbouring axes are one; from the last to the first, so that places stay what they are.
  let y = x.retain();
  let left = [...shape];
  for (let end = sorted.length; end > 0; ) {
    let begin = end - 1;
    while (begin > 0 && sorted[begin - 1] === sorted[begin]! - 1) begin--;
    const [first, last] = [sorted[begin]!, sorted[end - 1]!];
    const [before, over, behind] = [left.slice(0, first), left.slice(first, last + 1), left.slice(last + 1)];
    using middle = y.reshape([sizeOf(before), sizeOf(over), sizeOf(behind)]);
    y.dispose();
    y = sumMiddle(middle, begin === 0 ? scale : 1);
    left = [...before, ...behind];
    end = begin;
  }
  using flat = y;
  return flat.reshape(left.length === 0 ? [1] : left);
}

/** [A, R, B] → [A, B]. */
function sumMiddle(x: Tensor, scale: number): Tensor {
  const [A, R, B] = x.shape as [number, number, number]; // three axes, as every caller gives
  let from = x.retain();
  let rows = R;
  while (rows > STAGE) {
    const parts = Math.ceil(rows / STAGE);
    const next = empty(x.device, [A, parts, B]);
    launchSum(from, next, { a: A, total: rows * B, width: parts * B, scale: 1 });
    from.dispose();
    from = next;
    rows = parts;
  }
  const y = empty(x.device, [A, B]);
  launchSum(from, y, { a: A, total: rows * B, width: B, scale });
  from.dispose();
  record(
    "sumMiddle",
    [x],
    [y],
    () =>
      ([dy]) =>
        dy ? [repeatMiddle(dy, R, scale).handOver()] : [],
  );
  return y;
}

/** [A, B] → [A, R, B]. */
function repeatMiddle(y: Tensor, count: number, scale: number): Tensor {
  const [A, B] = y.shape as [number, number]; // two axes, as every caller gives
  const x = empty(y.device, [A, count, B]);
  const { device } = y;
  const cost = { bytes: y.byteLength + x.byteLength, operations: x.size };
  if (device.kind === "cpu") {
    device.run("reduceRepeat", { arguments: [y, x, B, count, f32(scale)], tasks: A * count, cost });
  } else {
    device.run(repeatWebGpu, {
      buffers: [y, x],
      params: repeatParams.write({ elements: x.size, b: B, count, scale }),
      grid: flatGrid(x.size),
      cost,
    });
  }
  record(
    "repeatMiddle",
    [y],
    [x],
    () =>
      ([dx]) =>
        dx ? [sumMiddle(dx, scale).handOver()] : [],
  );
  return x;
}

/** Numbers that one stage adds. */
const STAGE = 64;
/** Columns of a task on the CPU: a few cache lines. */
const BLOCK = 64;

interface SumSizes {
  readonly a: number;
  /** Elements of x for each a. */
  readonly total: number;
  /** Elements of y for each a: y[w] is the sum of x[w], x[w + width], x[w + 2 width] … */
  readonly width: number;
  readonly scale: number;
}

function launchSum(x: Tensor, y: Tensor, { a, total, width, scale }: SumSizes): void {
  const { device } = x;
  const cost = { bytes: x.byteLength + y.byteLength, operations: x.size };
  if (device.kind === "cpu") {
    const perRow = Math.ceil(width / BLOCK);
    device.run("reduceSum", { arguments: [x, y, total, width, perRow, f32(scale)], tasks: a * perRow, cost });
  } else {
    device.run(sumWebGpu, {
      buffers: [x, y],
      params: sumParams.write({ elements: a * width, total, width, scale }),
      grid: flatGrid(a * width),
      cost,
    });
  }
}

const sumWebGpu: WebGpuKernel = { label: "reduce sum", code: sumKernel };
const repeatWebGpu: WebGpuKernel = { label: "reduce repeat", code: repeatKernel };

export const reduceVariants = (): WebGpuKernel[] => [sumWebGpu, repeatWebGpu];
