/** A checked call of causal attention, as the launches take it. */
import type { Cost } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";

export interface CausalAttentionOptions {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** On q · k; usually 1/√D. */
  readonly scale: number;
  /** Positions that a token sees, itself included. Default: all. */
  readonly window?: number | undefined;
  /** f16: operands of products are rounded to halves where a GPU has matrix units for the head size. Default f32. */
  readonly precision?: "f32" | "f16" | undefined;
}

export interface CausalPlan {
  /** [T, H + 2G, D]. */
  readonly qkv: Tensor;
  /** [T, H, D]. */
  readonly out: Tensor;
  /** [T, H]: logarithms of the softmaxes' sums. */
  readonly logSums: Tensor;
  readonly options: CausalAttentionOptions;
  readonly step: Step;
}

export interface CausalBackwardTensors {
  /** [T, H, D]. */
  readonly dOut: Tensor;
  /** [T, H + 2G, D]. */
  readonly dQkv: Tensor;
  /** [T, H]: Σ_j P dP. */
  readonly pulls: Tensor;
}

export type CausalPass = "forward" | "queries" | "keys";

/** More than any position. */
export const windowOf = ({ window }: CausalAttentionOptions): number => Math.min(window ?? 2 ** 30, 2 ** 30);

/** Forward two products, queries three, keys four, over the pairs that see each other when all rows are equally long. */
export function costOf(pass: CausalPass, buffers: readonly Tensor[], { options, step }: CausalPlan): Cost {
  const { heads, headDim } = options;
  const length = step.tokenCount / step.rowCount;
  const seen = Math.min(length, windowOf(options));
  const pairs = step.tokenCount * heads * (seen - (seen * (seen - 1)) / (2 * length));
  const products = { forward: 2, queries: 3, keys: 4 }[pass];
  return {
    bytes: buffers.reduce((sum, { byteLength }) => sum + byteLength, 0),
    operations: 2 * products * headDim * pairs,
  };
}
