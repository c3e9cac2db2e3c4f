/** All WebGPU kernels of attention over packed pages that can be asked for. */
import type { WebGpuKernel } from "../../device/webgpu/kernel.js";

export function packedAttentionVariants(): WebGpuKernel[] {
  return [];
}
