/** Attention over packed pages on WebGPU. */
import type { WebGpuDevice } from "../../device/index.js";
import { ShapeError, type Tensor } from "../../tensor/index.js";
import type { PackedPages } from "../packed-kv/packed-pages.js";
import type { Step } from "../step/layout.js";
import type { PackedAttentionPlan } from "./packed-attention.js";

export function packedAttentionOnWebGpu(
  _device: WebGpuDevice,
  _qkv: Tensor,
  _stores: readonly PackedPages[],
  _plan: PackedAttentionPlan,
  _step: Step,
  _out: Tensor,
): void {
  throw new ShapeError("packedAttention", "device", "cpu", "webgpu");
}
