/** A checked call of lightning attention, as the launches take it, and what both devices agree on. */
import type { Cost, Device } from "../../device/index.js";
import { empty, type Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";

/** D at most. */
export const MAX_HEAD_DIM = 256;

/** B of the CPU kernel, which has the same constant. */
export const BLOCK_TOKENS = 32;

export interface LightningAttentionOptions {
  /**
   * f16: operands of the gradient's products within chunks are rounded to halves, where a GPU has matrix units for the head size.
   * Default f32. The operation itself is float32 always.
   */
  readonly precision?: "f32" | "f16" | undefined;
}

export interface LightningPlan {
  /** [T, H, 3, D]. */
  readonly qkv: Tensor;
  /** [slots, H, D, D]. */
  readonly state: Tensor;
  /** [H]. */
  readonly decay: Tensor;
  /** [T, H, D]. */
  readonly out: Tensor;
  readonly heads: number;
  readonly headDim: number;
  readonly step: Step;
  /** Of the gradient; see LightningAttentionOptions. */
  readonly precision?: "f32" | "f16" | undefined;
}

/** Each row reads and writes its state once. */
export function costOf({ qkv, out, heads, headDim, step }: LightningPlan): Cost {
  const stateSize = heads * headDim * headDim;
  const aToken = step.isDecode ? 5 * stateSize : 4 * stateSize + 2 * heads * headDim * BLOCK_TOKENS;
  return {
    bytes: qkv.byteLength + out.byteLength + step.rowCount * 8 * stateSize,
    operations: step.tokenCount * aToken,
  };
}

export interface LightningGradientInput {
  readonly qkv: Tensor;
  /** [slots, H, D, D] before the step; where `states` are given only its shape counts. */
  readonly state: Tensor;
  /** WebGPU: [chunk, H, D·D], as the forward pass made them. */
  readonly states?: Tensor | undefined;
  readonly decay: Tensor;
  /** [T, H·D]. */
  readonly dOut: Tensor;
  /** Gradient of the state after the step; nothing: zero. */
  readonly dFinal?: Tensor | undefined;
  readonly step: Step;
  /** See LightningAttentionOptions. */
  readonly precision?: "f32" | "f16" | undefined;
}

export function copyOf(device: Device, tensor: Tensor): Tensor {
  const copy = empty(device, tensor.shape, tensor.dtype);
  device.copy(tensor, copy);
  return copy;
}

/** A grid's y and z for `count` of something; kernels undo it with 65,535. */
export function folded(count: number): [number, number] {
  const width = Math.min(count, 65_535);
  return [width, Math.ceil(count / width)];
}
