/** Shapes of attention layers that are measured alone. */
import type { StateSpec } from "../../cache/index.js";

export interface SoftmaxShape {
  readonly name: string;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Such layers of the whole model: as many caches take turns, if that many fit. */
  readonly layers: number;
}

export interface LightningShape {
  readonly name: string;
  readonly heads: number;
  readonly headDim: number;
  readonly layers: number;
}

export const softmaxShapes: readonly SoftmaxShape[] = [
  { name: "M1", heads: 64, kvHeads: 8, headDim: 128, layers: 10 },
  // As in Llama 3 8B, Qwen3 8B and many others.
  { name: "8B", heads: 32, kvHeads: 8, headDim: 128, layers: 32 },
  { name: "mini", heads: 8, kvHeads: 2, headDim: 64, layers: 3 },
];

export const lightningShapes: readonly LightningShape[] = [
  { name: "M1", heads: 64, headDim: 128, layers: 70 },
  { name: "mini", heads: 8, headDim: 64, layers: 9 },
];

/** What a pool of such layers alone keeps. */
export function stateSpec(parts: Partial<StateSpec>): StateSpec {
  return {
    softmaxLayers: 0,
    kvHeads: 1,
    headDim: 4,
    lightningLayers: 0,
    lightningHeads: 1,
    lightningHeadDim: 4,
    vocabSize: 32,
    maxPositions: 2 ** 20 + 2 ** 16,
    ...parts,
  };
}
