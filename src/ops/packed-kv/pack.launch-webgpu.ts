/** packKv on WebGPU. */

import type { WebGpuDevice } from "../../device/index.js";
import { ShapeError, type Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import type { PackPlan } from "./pack.js";
import type { PackedPages } from "./packed-pages.js";

export function packOnWebGpu(
  _device: WebGpuDevice,
  _qkv: Tensor,
  _pages: PackedPages,
  _plan: PackPlan | undefined,
  _heads: number,
  _step: Step,
  _part: "pages" | "side",
): void {
  throw new ShapeError("packKv", "device", "the CPU: kernels for WebGPU are to come", "webgpu");
}
