/** prepareKv on WebGPU. */
import type { WebGpuDevice } from "../../device/index.js";
import { ShapeError, type Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import type { PackedPages } from "./packed-pages.js";
import type { PreparePlan } from "./prepare.js";

export function prepareOnWebGpu(
  _device: WebGpuDevice,
  _qkv: Tensor,
  _pages: PackedPages,
  _plan: PreparePlan,
  _step: Step,
): void {
  throw new ShapeError("prepareKv", "device", "the CPU: kernels for WebGPU are to come", "webgpu");
}
