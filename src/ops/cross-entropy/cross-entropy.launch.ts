/** The passes of the cross-entropy over pieces of the vocabulary, on both devices. */
import type { WebGpuDevice } from "../../device/index.js";
import { empty, type Tensor } from "../../tensor/index.js";
import { halvesRowOctets } from "../matmul/gemm-subgroup-matrix.wgsl.js";
import {
  type CrossEntropyPass,
  crossEntropyKernel,
  crossEntropyParams,
  FACTOR_WORKGROUP,
  factorKernel,
  factorParams,
  PAIRS_WORKGROUP,
  pairsKernel,
  pairsParams,
} from "./cross-entropy.wgsl.js";

export interface CrossEntropySizes {
  readonly T: number;
  /** First id of the piece, and its ids. */
  readonly first: number;
  readonly columns: number;
  readonly count: number;
  /** Logits are z times this; WebGPU only. Default 1. */
  readonly unit?: number;
}

export function launchCrossEntropy(pass: CrossEntropyPass, buffers: readonly Tensor[], sizes: CrossEntropySizes): void {
  const [{ device }] = buffers as readonly [Tensor];
  const { T, first, columns, count, unit = 1 } = sizes;
  const bytes = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const cost = { bytes, operations: pass === "loss" ? T : 4 * T * columns };
  if (device.kind === "cpu") {
    const name = `crossEntropy${pass[0]!.toUpperCase()}${pass.slice(1)}`;
    device.run(name, { arguments: [...buffers, T, first, columns, count], tasks: pass === "loss" ? 1 : T, cost });
    return;
  }
  const width = Math.min(T, 65_535);
  device.run(crossEntropyKernel(pass), {
    buffers,
    params: crossEntropyParams.write({ tokens: T, first, columns, count, unit }),
    grid: pass === "loss" ? [1] : [width, Math.ceil(T / width)],
    cost,
  });
}

/** Numbers [rows, ≥ columns] times `unit` as pairs of halves; `rest` says which of the three parts holds the rests. */
export function pairsOf(device: WebGpuDevice, x: Tensor, columns: number, rest: 1 | 2, unit: number): Tensor {
  const [rows = 0, stride = 0] = x.shape;
  const octets = halvesRowOctets(columns);
  const out = empty(device, [rows, 12 * octets], "u32", "pairs of halves");
  const height = Math.min(rows, device.limits.maxWorkgroupsPerDimension);
  device.run(pairsKernel, {
    buffers: [x, out],
    params: pairsParams.write({ columns, stride, rows, octets, rest, unit }),
    grid: [Math.ceil(octets / PAIRS_WORKGROUP), height, Math.ceil(rows / height)],
    cost: { bytes: x.byteLength + out.byteLength, operations: 0 },
  });
  return out;
}

/** x ← x · dLoss / count. */
export function timesFactor(device: WebGpuDevice, x: Tensor, dLoss: Tensor, count: number): void {
  const groups = Math.ceil(x.size / FACTOR_WORKGROUP);
  const height = Math.ceil(groups / device.limits.maxWorkgroupsPerDimension);
  const width = Math.ceil(groups / height);
  device.run(factorKernel, {
    buffers: [dLoss, x],
    params: factorParams.write({ size: x.size, width: width * FACTOR_WORKGROUP, count }),
    grid: [width, height],
    cost: { bytes: 2 * x.byteLength, operations: x.size },
  });
}
