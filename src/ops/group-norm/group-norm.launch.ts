/** Group and layer normalisation on both devices. */
import { f32, type WebGpuKernel } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import { groupNormGradientKernel, groupNormKernel, groupNormParams } from "./group-norm.wgsl.js";

/** Which numbers share a mean, and which a weight. */
export interface NormLayout {
  /** Rows of x with a mean of their own: `channels · places` numbers that follow each other. */
  readonly rows: number;
  /** Row r begins with channel (r mod groups) · channels. */
  readonly groups: number;
  /** Channels of a row. */
  readonly channels: number;
  /** Numbers of a channel. */
  readonly places: number;
}

export function launchGroupNorm(
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
  y: Tensor,
  layout: NormLayout,
  eps: number,
): void {
  const { device } = x;
  const { rows, groups, channels, places } = layout;
  const cost = { bytes: 2 * x.byteLength, operations: 8 * x.size };
  if (device.kind === "cpu") {
    device.run("groupNorm", {
      arguments: [x, weight, bias, y, groups, channels, places, f32(eps)],
      tasks: rows,
      cost,
    });
    return;
  }
  const width = Math.min(rows, device.limits.maxWorkgroupsPerDimension);
  device.run(kernels[widthOf(layout)].forward, {
    buffers: [x, weight, bias, y],
    params: groupNormParams.write({ rows, groups, channels, places, eps }),
    grid: [width, Math.ceil(rows / width)],
    cost,
  });
}

/** dx, and dy · x̂ (the terms of the weight's gradient) in `terms`. */
export function launchGroupNormGradient(
  x: Tensor,
  weight: Tensor,
  dy: Tensor,
  dx: Tensor,
  terms: Tensor,
  layout: NormLayout,
  eps: number,
): void {
  const { device } = x;
  const { rows, groups, channels, places } = layout;
  const cost = { bytes: 4 * x.byteLength, operations: 16 * x.size };
  if (device.kind === "cpu") {
    device.run("groupNormGradient", {
      arguments: [x, weight, dy, dx, terms, groups, channels, places, f32(eps)],
      tasks: rows,
      cost,
    });
    return;
  }
  const width = Math.min(rows, device.limits.maxWorkgroupsPerDimension);
  device.run(kernels[widthOf(layout)].backward, {
    buffers: [x, weight, dy, dx, terms],
    params: groupNormParams.write({ rows, groups, channels, places, eps }),
    grid: [width, Math.ceil(rows / width)],
    cost,
  });
}

const made = (workgroup: 64 | 256): { readonly forward: WebGpuKernel; readonly backward: WebGpuKernel } => ({
  forward: { label: `group-norm wg=${workgroup}`, code: groupNormKernel(workgroup) },
  backward: { label: `group-norm gradient wg=${workgroup}`, code: groupNormGradientKernel(workgroup) },
});
const kernels = { 64: made(64), 256: made(256) } as const;

const widthOf = ({ channels, places }: NormLayout): 64 | 256 => (channels * places > 256 ? 256 : 64);

export const groupNormVariants = (): WebGpuKernel[] =>
  Object.values(kernels).flatMap(({ forward, backward }) => [forward, backward]);
