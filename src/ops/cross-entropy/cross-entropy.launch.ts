/** The passes of the cross-entropy over pieces of the vocabulary, on both devices. */
import type { Tensor } from "../../tensor/index.js";
import { type CrossEntropyPass, crossEntropyKernel, crossEntropyParams } from "./cross-entropy.wgsl.js";

export interface CrossEntropySizes {
  readonly T: number;
  /** First id of the piece, and its ids. */
  readonly first: number;
  readonly columns: number;
  readonly count: number;
}

export function launchCrossEntropy(pass: CrossEntropyPass, buffers: readonly Tensor[], sizes: CrossEntropySizes): void {
  const [{ device }] = buffers as readonly [Tensor];
  const { T, first, columns, count } = sizes;
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
    params: crossEntropyParams.write({ tokens: T, first, columns, count }),
    grid: pass === "loss" ? [1] : [width, Math.ceil(T / width)],
    cost,
  });
}
