/**
 * Muon on WebGPU: all matrices of one size in a stack, whichever tensors they belong to. A stack takes 17 launches and some to
 * gather and apply it, several tensors each, however many matrices it has.
 */
import type { WebGpuDevice } from "../../device/index.js";
import { empty, type Tensor } from "../../tensor/index.js";
import { blockGrid, blockLaunches, spanOf, spanValues } from "../global-norm/tensor-blocks.js";
import type { MuonTensor } from "./muon.js";
import {
  applyKernel,
  applySeries,
  gatherKernel,
  gatherSeries,
  momentumKernel,
  momentumParams,
  momentumTensors,
  normaliseKernel,
  normParams,
  normsKernel,
  seriesParams,
  TILE,
} from "./muon.wgsl.js";
import { lengthOf, QUINTIC } from "./quintic.js";
import { PRODUCT_TILE, productKernel, productParams, STACK_ALIGN, type StackProduct } from "./stack-product.wgsl.js";
import { type Series, type Stack, stacksOf } from "./stacks.js";

/** Bytes of a stack, of which there are two at a time, beside A and B. A matrix that is larger is one alone. */
const STACK_BYTES = 2 ** 28;
/** The most that WebGPU promises for a dimension of the grid. */
const GRID = 65_535;
/** Numbers of a slice of a matrix, and slices at most: each slice's workgroup reads what all have found. */
const SLICE = 4096;
const SLICES = 1024;

export function muonOnWebGpu(device: WebGpuDevice, tensors: readonly MuonTensor[], record: Tensor, keep: number): void {
  updateMomentum(device, tensors, record, keep);
  const numbers = Math.min(STACK_BYTES, device.limits.maxBindingBytes) / 4;
  for (const stack of stacksOf(tensors, { align: STACK_ALIGN, numbers, matrices: GRID })) {
    orthogonalise(device, stack, record, keep);
  }
}

function updateMomentum(device: WebGpuDevice, tensors: readonly MuonTensor[], record: Tensor, keep: number): void {
  const { maxStorageBuffers, maxBindingBytes } = device.limits;
  const sizes = tensors.map(({ parameter }) => parameter.size);
  const limits = { tensors: momentumTensors(maxStorageBuffers), numbers: maxBindingBytes / 4 };
  for (const { spans, blocks } of blockLaunches(sizes, limits)) {
    const count = spans.length;
    const slices = (name: "gradient" | "momentum") =>
      spans.map((span) => spanOf((tensors[span.tensor] as MuonTensor)[name], span)); // spans are of these tensors
    const numbers = spans.reduce((sum, { size }) => sum + size, 0);
    const ofSpans = (name: "size" | "end") =>
      spanValues(
        name,
        count,
        spans.map((span) => span[name]),
      );
    // A kernel for as many tensors as there are: what is written cannot be bound twice.
    device.run(momentumKernel(count), {
      buffers: [...slices("gradient"), ...slices("momentum"), record],
      params: momentumParams(count).write({ keep, ...ofSpans("size"), ...ofSpans("end") }),
      grid: blockGrid(blocks),
      cost: { bytes: 12 * numbers, operations: 3 * numbers },
    });
  }
}

/** The steps of one stack's matrices, from gradient and momentum to the weights. */
function orthogonalise(device: WebGpuDevice, stack: Stack, record: Tensor, keep: number): void {
  const { count, rows, columns, stride } = stack;
  let x = empty(device, [count, rows, stride], "f32", "muon stack");
  gather(device, stack, x, record, keep);
  normalise(device, stack, x);
  {
    let y = empty(device, x.shape, "f32", "muon stack");
    const strideA = Math.ceil(rows / STACK_ALIGN) * STACK_ALIGN;
    using a = empty(device, [count, rows, strideA], "f32", "muon gram");
    using b = empty(device, a.shape, "f32", "muon gram");
    const { steps, ...quintic } = QUINTIC;
    for (let i = 0; i < steps; i++) {
      product(device, "gram", [x], a, { depth: stride, alpha: 0, beta: 1 });
      product(device, "square", [a], b, { depth: rows, alpha: quintic.b, beta: quintic.c });
      product(device, "multiply", [b, x], y, { depth: rows, alpha: quintic.a, beta: 1 });
      [x, y] = [y, x];
    }
    y.dispose();
  }
  apply(device, stack, x, record, lengthOf(rows, columns));
  x.dispose();
}

function gather(device: WebGpuDevice, stack: Stack, x: Tensor, record: Tensor, keep: number): void {
  // Bindings that a launch has no series for get the last one again: they are only read.
  const count = gatherSeries(device.limits.maxStorageBuffers);
  for (const { series, first } of launchesOf(stack.series, count)) {
    const fill = (name: "gradient" | "momentum") =>
      Array.from({ length: count }, (_, i) => (series[i] ?? (series.at(-1) as Series)).tensor[name]);
    const { grid, numbers, write } = movement(stack, series, first, count);
    device.run(gatherKernel(count), {
      buffers: [...fill("gradient"), ...fill("momentum"), record, x],
      params: write(keep, 0),
      grid,
      cost: { bytes: 12 * numbers, operations: 3 * numbers },
    });
  }
}

function apply(device: WebGpuDevice, stack: Stack, x: Tensor, record: Tensor, length: number): void {
  for (const { series, first } of launchesOf(stack.series, applySeries(device.limits.maxStorageBuffers), true)) {
    const { grid, numbers, write } = movement(stack, series, first, series.length);
    device.run(applyKernel(series.length), {
      buffers: [...series.map(({ tensor }) => tensor.parameter), record, x],
      params: write(0, length),
      grid,
      cost: { bytes: 12 * numbers, operations: 4 * numbers },
    });
  }
}

interface SeriesLaunch {
  readonly series: readonly Series[];
  /** Of the launch's first matrix in the stack. */
  readonly first: number;
}

/** Shares series out over launches, in their order; of one tensor only one where it is written. */
function launchesOf(all: readonly Series[], most: number, isWritten = false): SeriesLaunch[] {
  const launches: { series: Series[]; first: number }[] = [];
  let matrix = 0;
  for (const one of all) {
    const last = launches.at(-1);
    const isOpen = last && last.series.length < most;
    if (isOpen && !(isWritten && last.series.some(({ tensor }) => tensor.parameter === one.tensor.parameter))) {
      last.series.push(one);
    } else launches.push({ series: [one], first: matrix });
    matrix += one.count;
  }
  return launches;
}

/** What launches that move matrices have in common. */
function movement({ rows, columns, stride }: Stack, series: readonly Series[], first: number, count: number) {
  let matrices = 0;
  const ends = series.map((one) => {
    matrices += one.count;
    return matrices;
  });
  const values = (name: string, of: (one: Series) => number) => spanValues(name, count, series.map(of));
  return {
    grid: [Math.ceil(stride / TILE), Math.ceil(rows / TILE), matrices] as const,
    numbers: matrices * rows * columns,
    write: (keep: number, length: number) =>
      seriesParams(count).write({
        ...{ rows, columns, stride, matrix: first, keep },
        ...spanValues("end", count, ends),
        ...values("first", (one) => one.first),
        ...values("step", (one) => one.step),
        ...values("width", ({ tensor }) => tensor.parameter.shape[1] ?? 0),
        ...values("isTall", ({ isTall }) => (isTall ? 1 : 0)),
        ...values("rate", ({ tensor }) => tensor.rate * length),
        ...values("loss", ({ tensor }) => tensor.rate * tensor.decay),
      }),
  };
}

function normalise(device: WebGpuDevice, { count, rows, stride }: Stack, x: Tensor): void {
  const size = rows * stride;
  const slice = Math.max(SLICE, Math.ceil(size / SLICES));
  const slices = Math.ceil(size / slice);
  using norms = empty(device, [count, slices, 2], "f32", "norms");
  const params = normParams.write({ size, slice, slices });
  const grid = [slices, count] as const;
  const cost = { bytes: x.byteLength, operations: 3 * x.size };
  device.run(normsKernel, { buffers: [x, norms], params, grid, cost });
  device.run(normaliseKernel, { buffers: [norms, x], params, grid, cost: { ...cost, bytes: 2 * cost.bytes } });
}

interface ProductSizes {
  readonly depth: number;
  readonly alpha: number;
  readonly beta: number;
}

/** y = alpha · its last operand + beta · the product; all [matrices, rows, stride]. */
function product(
  device: WebGpuDevice,
  name: StackProduct,
  operands: readonly [Tensor, ...Tensor[]],
  y: Tensor,
  { depth, alpha, beta }: ProductSizes,
): void {
  const [count = 0, rows = 0, stride = 0] = y.shape;
  const [p, q = p] = operands;
  const quads = (tensor: Tensor) => (tensor.shape[2] ?? 0) / 4;
  const share = name === "multiply" ? 2 : 1; // half of a symmetric product is stored twice
  device.run(productKernel(name), {
    buffers: [...operands, y],
    params: productParams.write({
      ...{ rows, depth, alpha, beta },
      ...{ strideP: quads(p), strideQ: quads(q), strideY: quads(y) },
    }),
    grid: [Math.ceil(stride / PRODUCT_TILE), Math.ceil(rows / PRODUCT_TILE), count],
    cost: {
      bytes: [...operands, y].reduce((sum, { byteLength }) => sum + byteLength, 0),
      operations: share * count * rows * stride * depth,
    },
  });
}
