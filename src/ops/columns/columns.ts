/**
 * Side by side: parts of the columns of a matrix as tensors of their own, and back.
 *
 *   splitColumns  part i of x [T, N] = columns w_0 + … + w_{i−1} … of x, [T, w_i]
 *   joinColumns   the other way
 *
 * Axes      T rows. Precision copies. Each is the other's gradient.
 */
import type { WebGpuKernel } from "../../device/index.js";
import { params } from "../../device/index.js";
import { empty, record, ShapeError, type Tensor } from "../../tensor/index.js";

/** In elements, or vectors of four where the variant has them. */
const columnParams = params({
  elements: "u32",
  width: "u32",
  fromStride: "u32",
  fromFirst: "u32",
  toStride: "u32",
  toFirst: "u32",
});

const columnsKernel = (vectors: boolean): WebGpuKernel => ({
  label: `columns${vectors ? " vectors" : ""}`,
  code: /* wgsl */ `
alias Element = ${vectors ? "vec4f" : "f32"};
${columnParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;
@group(0) @binding(2) var<storage, read_write> y: array<Element>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (i >= p.elements) { return; }
  let row = i / p.width;
  let column = i % p.width;
  y[row * p.toStride + p.toFirst + column] = x[row * p.fromStride + p.fromFirst + column];
}`,
});

const single = columnsKernel(false);
const vectors = columnsKernel(true);

export const columnsVariants = (): WebGpuKernel[] => [single, vectors];

interface Place {
  readonly tensor: Tensor;
  readonly stride: number;
  readonly first: number;
}

function copyColumns(from: Place, to: Place, rows: number, width: number): void {
  const { device } = from.tensor;
  const cost = { bytes: 8 * rows * width, operations: 0 };
  if (device.kind === "cpu") {
    device.run("copyColumns", {
      arguments: [from.tensor, to.tensor, width, from.stride, from.first, to.stride, to.first],
      tasks: rows,
      cost,
    });
    return;
  }
  const isWide = [width, from.stride, from.first, to.stride, to.first].every((size) => size % 4 === 0);
  const unit = isWide ? 4 : 1;
  const elements = (rows * width) / unit;
  const groups = Math.ceil(elements / 64);
  const grid = Math.min(groups, 65_535);
  device.run(isWide ? vectors : single, {
    buffers: [from.tensor, to.tensor],
    params: columnParams.write({
      elements,
      width: width / unit,
      fromStride: from.stride / unit,
      fromFirst: from.first / unit,
      toStride: to.stride / unit,
      toFirst: to.first / unit,
    }),
    grid: [grid, Math.ceil(groups / grid)],
    cost,
  });
}

/** @returns f32 [T, width], one a width. @throws {ShapeError} the widths are not x's columns. */
export function splitColumns(x: Tensor, widths: readonly number[]): Tensor[] {
  const [T, N] = x.shape;
  if (T === undefined || x.shape.length !== 2 || widths.reduce((a, b) => a + b, 0) !== N) {
    throw new ShapeError("splitColumns", "widths", `those of x's ${N} columns`, widths);
  }
  let first = 0;
  const parts = widths.map((width) => {
    const part = empty(x.device, [T, width]);
    copyColumns({ tensor: x, stride: N as number, first }, { tensor: part, stride: width, first: 0 }, T, width);
    first += width;
    return part;
  });
  record("splitColumns", [x], parts, () => (dParts) => {
    const filled = dParts.map((part, i) => part ?? emptyPart(x, T, widths[i] as number));
    const dx = joinColumns(filled);
    filled.forEach((part, i) => {
      if (!dParts[i]) part.dispose();
    });
    return [dx.handOver()];
  });
  return parts;
}

/** @param parts f32 [T, widths]. @returns f32 [T, Σ widths]. @throws {ShapeError} other rows. */
export function joinColumns(parts: readonly Tensor[]): Tensor {
  const [head] = parts;
  const T = head?.shape[0];
  if (!head || T === undefined || !parts.every(({ shape }) => shape.length === 2 && shape[0] === T)) {
    throw new ShapeError(
      "joinColumns",
      "parts",
      "matrices with the same rows",
      parts.map(({ shape }) => `[${shape.join(", ")}]`).join(" "),
    );
  }
  const widths = parts.map(({ shape }) => shape[1] as number);
  const N = widths.reduce((a, b) => a + b, 0);
  const y = empty(head.device, [T, N]);
  let first = 0;
  for (const [i, part] of parts.entries()) {
    const width = widths[i] as number;
    copyColumns({ tensor: part, stride: width, first: 0 }, { tensor: y, stride: N, first }, T, width);
    first += width;
  }
  record(
    "joinColumns",
    parts,
    [y],
    () =>
      ([dy]) =>
        dy ? splitColumns(dy, widths).map((part) => part.handOver()) : [],
  );
  return y;
}

function emptyPart(x: Tensor, T: number, width: number): Tensor {
  const part = empty(x.device, [T, width]);
  x.device.clear(part);
  return part;
}
