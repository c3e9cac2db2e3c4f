/** A checked call of lightning attention, as the launches take it, and what both devices agree on. */
import type { Cost } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";

/** D at most. */
export const MAX_HEAD_DIM = 256;

/** B of the CPU kernel, which has the same constant. */
export const BLOCK_TOKENS = 32;

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
