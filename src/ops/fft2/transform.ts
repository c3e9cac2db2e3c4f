/** Transforms along one axis of images [B, H, W] of complex numbers. */
import { f32, type WebGpuKernel } from "../../device/index.js";
import { empty, type Tensor } from "../../tensor/index.js";
import { matmul } from "../matmul/matmul.js";
import { swapAxes } from "../swap-axes/swap-axes.js";
import { radix2Kernel, radix2Params } from "./radix2.wgsl.js";
import { type AxisTable, type FftTables, mostRadix2 } from "./tables.js";

/** Along W. @param x [..., H, W, 2]. @returns [B, H, W, 2]. */
export function transformRows(x: Tensor, { height, width, rows }: FftTables, inverse: boolean): Tensor {
  const images = x.size / (2 * height * width);
  const shape = [images, height, width, 2];
  if (rows.kind === "radix2") {
    return radix2(x, rows, shape, { lines: images * height, inner: 1, outer: width, step: 1 }, inverse);
  }
  return byProduct(x, rows, shape, inverse);
}

/** Along H. @param x [B, H, W, 2]. @returns the same shape. */
export function transformColumns(x: Tensor, { height, width, columns }: FftTables, inverse: boolean): Tensor {
  const [images = 0] = x.shape;
  if (columns.kind === "radix2") {
    const lines = { lines: images * width, inner: width, outer: height * width, step: width };
    return radix2(x, columns, x.shape, lines, inverse);
  }
  using turned = swapAxes(x, 1);
  using transformed = byProduct(turned, columns, turned.shape, inverse);
  return swapAxes(transformed, 1);
}

/** Lines that follow each other. */
function byProduct(
  x: Tensor,
  table: Extract<AxisTable, { kind: "product" }>,
  shape: readonly number[],
  inverse: boolean,
): Tensor {
  const { length } = table;
  using lines = x.reshape([x.size / (2 * length), 2 * length]);
  using y = matmul(lines, inverse ? table.inverse : table.forward);
  return y.reshape(shape);
}

/** Where lines lie, in complex numbers: number n of line l at ⌊l / inner⌋ · outer + l mod inner + n · step. */
interface Lines {
  readonly lines: number;
  readonly inner: number;
  readonly outer: number;
  readonly step: number;
}

/** Lines of a task on the CPU: a vector register holds four. */
const LINES = 8;

function radix2(
  x: Tensor,
  table: Extract<AxisTable, { kind: "radix2" }>,
  shape: readonly number[],
  { lines, inner, outer, step }: Lines,
  inverse: boolean,
): Tensor {
  const { length, centred, twiddles } = table;
  const { device } = x;
  const y = empty(device, shape, "f32", "fft");
  // Counting from the middle is a factor (−1)ⁿ in front and (−1)ᵏ behind, and exp(∓2πi (N / 2)² / N), which is −1 for N = 2 and else 1.
  const scale = (centred && length === 2 ? -1 : 1) / Math.sqrt(length);
  const direction = inverse ? -1 : 1;
  const log = Math.log2(length);
  const cost = { bytes: 2 * x.byteLength, operations: 5 * (x.size / 2) * log };
  if (device.kind === "cpu") {
    // Real and imaginary parts of all lines, number by number.
    const workerBytes = 2 * 4 * LINES * length;
    device.run("fftRadix2", {
      arguments: [
        ...[x, y, twiddles, device.workerScratch(workerBytes), workerBytes, length, log, lines, inner, outer, step],
        ...[centred ? 1 : 0, f32(scale), f32(direction)],
      ],
      tasks: Math.ceil(lines / LINES),
      cost,
    });
    return y;
  }
  const kernel = kernels.get(length);
  if (!kernel) throw new Error(`internal: no radix-2 kernel of ${length}`);
  const width = Math.min(lines, device.limits.maxWorkgroupsPerDimension);
  device.run(kernel, {
    buffers: [x, twiddles, y],
    params: radix2Params.write({ lines, inner, outer, step, centred: centred ? 1 : 0, scale, direction }),
    grid: [width, Math.ceil(lines / width)],
    cost,
  });
  return y;
}

const kernels: ReadonlyMap<number, WebGpuKernel> = new Map(
  Array.from({ length: Math.log2(mostRadix2) }, (_, i) => {
    const length = 2 ** (i + 1);
    return [length, { label: `fft radix-2 of ${length}`, code: radix2Kernel(length) }];
  }),
);

export const fftVariants = (): WebGpuKernel[] => [...kernels.values()];
