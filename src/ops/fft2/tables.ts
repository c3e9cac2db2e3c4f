/** What a transform of one size needs besides the image: twiddle factors, or the matrix of the transform. */
import type { Device } from "../../device/index.js";
import { type Tensor, upload } from "../../tensor/index.js";
import { COLUMN_BLOCK, matrixFromTensor, type WeightMatrix } from "../matmul/weight-matrix.js";

/** Size and convention of a transform. */
export interface FftOptions {
  readonly height: number;
  readonly width: number;
  /** Indices count from the middle. Default false. */
  readonly centred?: boolean;
}

/** One axis: a power of two up to `mostRadix2`, or any length. */
export type AxisTable =
  | { readonly kind: "radix2"; readonly length: number; readonly twiddles: Tensor; readonly centred: boolean }
  | {
      readonly kind: "product";
      readonly length: number;
      readonly forward: WeightMatrix;
      readonly inverse: WeightMatrix;
    };

/** Tables of both axes; they hold device memory. */
export interface FftTables extends Disposable {
  readonly device: Device;
  readonly height: number;
  readonly width: number;
  readonly rows: AxisTable;
  readonly columns: AxisTable;
  dispose(): void;
}

/** The longest line that fits into 16 KiB of workgroup memory, which every WebGPU device has. */
export const mostRadix2 = 2048;

/** @throws {RangeError} a size below 1. */
export function fftTables(device: Device, { height, width, centred = false }: FftOptions): FftTables {
  for (const [name, size] of [
    ["height", height],
    ["width", width],
  ] as const) {
    if (!Number.isInteger(size) || size < 1)
      throw new RangeError(`fftTables: ${name} expected 1 or more, got ${size}.`);
  }
  const rows = axisTable(device, width, centred);
  const columns = width === height ? rows : axisTable(device, height, centred);
  const dispose = (): void => {
    for (const table of new Set([rows, columns])) {
      if (table.kind === "radix2") table.twiddles.dispose();
      else {
        table.forward.dispose();
        table.inverse.dispose();
      }
    }
  };
  return { device, height, width, rows, columns, dispose, [Symbol.dispose]: dispose };
}

function axisTable(device: Device, length: number, centred: boolean): AxisTable {
  if (length > 1 && length <= mostRadix2 && Number.isInteger(Math.log2(length))) {
    const twiddles = new Float32Array(length);
    for (let j = 0; j < length / 2; j++) {
      twiddles[2 * j] = Math.cos((2 * Math.PI * j) / length);
      twiddles[2 * j + 1] = -Math.sin((2 * Math.PI * j) / length);
    }
    return { kind: "radix2", length, centred, twiddles: kept(upload(device, twiddles, [length / 2, 2])) };
  }
  const matrix = (sign: 1 | -1): WeightMatrix => {
    const stride = Math.ceil((2 * length) / COLUMN_BLOCK) * COLUMN_BLOCK;
    const codes = new Float32Array(2 * length * stride);
    const middle = centred ? Math.floor(length / 2) : 0;
    const scale = 1 / Math.sqrt(length);
    for (let k = 0; k < length; k++) {
      for (let n = 0; n < length; n++) {
        // The product of indices modulo the length: exact, where the angle itself would lose digits.
        const turn = (((k - middle) * (n - middle)) % length) / length;
        const real = scale * Math.cos(2 * Math.PI * turn);
        const imaginary = sign * scale * Math.sin(2 * Math.PI * turn);
        codes[2 * k * stride + 2 * n] = real;
        codes[2 * k * stride + 2 * n + 1] = -imaginary;
        codes[(2 * k + 1) * stride + 2 * n] = imaginary;
        codes[(2 * k + 1) * stride + 2 * n + 1] = real;
      }
    }
    return matrixFromTensor(kept(upload(device, codes, [2 * length, stride])), 2 * length);
  };
  return { kind: "product", length, forward: matrix(-1), inverse: matrix(1) };
}

/** A handle that no scope frees. */
const kept = (tensor: Tensor): Tensor => tensor.handOver();
