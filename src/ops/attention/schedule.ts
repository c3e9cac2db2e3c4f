/** How attention shares out its work. Depends on the step's bounds and the options alone, never on the machine. */
import type { Cost } from "../../device/index.js";
import { ShapeError, type Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import type { AttentionPlan } from "./attention.js";
import { type KvPages, PAGE_TOKENS } from "./kv-pages.js";

/** Shares of the context in a decode step: a power of two ≤ 64, so that each gets about `pagesPerSplit` pages. */
export function splitsOf(step: Step, plan: AttentionPlan, pagesPerSplit: number): number {
  const pages = Math.ceil(Math.min(step.lengthBound, plan.window) / PAGE_TOKENS);
  let splits = 1;
  while (splits < 64 && splits * pagesPerSplit < pages) splits *= 2;
  return splits;
}

/** The prefill tiles of a step. */
export function tilesOf(step: Step): Tensor {
  if (!step.tiles) throw new ShapeError("attention", "step.tiles", "tiles, as the step is no decode step", "none");
  return step.tiles;
}

/** An upper bound: every token against the longest row. */
export function costOf(pages: KvPages, plan: AttentionPlan, step: Step): Cost {
  const length = Math.min(step.lengthBound, plan.window);
  const { headDim, kvHeads } = pages;
  const elementBytes = pages.dtype === "f32" ? 4 : 2;
  return {
    bytes: 2 * step.rowCount * length * kvHeads * headDim * elementBytes + 8 * step.tokenCount * plan.heads * headDim,
    operations: 4 * step.tokenCount * length * plan.heads * headDim,
  };
}
