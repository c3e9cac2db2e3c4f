/** RMS normalisation on WebGPU. */
import type { WebGpuDevice, WebGpuKernel } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import { rmsNormKernel, rmsNormLabel, rmsNormParams, rmsNormVariants } from "./rms-norm.wgsl.js";

/** Kept, so that devices find their pipelines without comparing texts. */
const kernels: ReadonlyMap<string, WebGpuKernel> = new Map(
  rmsNormVariants().map((v) => [rmsNormLabel(v), { label: rmsNormLabel(v), code: rmsNormKernel(v) }]),
);

export function launchRmsNormWebGpu(device: WebGpuDevice, x: Tensor, weight: Tensor, y: Tensor, eps: number): void {
  const channels = weight.size;
  const tokens = x.size / channels;
  const vectors = channels % 4 === 0;
  const elements = vectors ? channels / 4 : channels;
  const variant = { workgroup: elements > 64 ? 256 : 64, vectors, subgroups: device.features.subgroups } as const;
  const label = rmsNormLabel(variant);
  const kernel = kernels.get(label);
  if (kernel === undefined) throw new Error(`internal: no kernel ${label}`);
  const width = Math.min(tokens, device.limits.maxWorkgroupsPerDimension);
  device.run(kernel, {
    buffers: [x, weight, y],
    params: rmsNormParams.write({ elements, channels, tokens, eps }),
    grid: [width, Math.ceil(tokens / width)],
    cost: { bytes: x.byteLength + weight.byteLength + y.byteLength, operations: 4 * x.size },
  });
}

export function rmsNormWebGpuKernels(): WebGpuKernel[] {
  return [...kernels.values()];
}
