/** prepareKv on WebGPU. */

import type { WebGpuDevice } from "../../device/index.js";
import { KeptKernels } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import type { RopeTable } from "../rope/rope.js";
import type { Step } from "../step/layout.js";
import { ringTokens } from "./format.js";
import type { PackedPages } from "./packed-pages.js";
import type { PreparePlan } from "./prepare.js";
import {
  HEADS_PER_GROUP,
  type KeyRowsVariant,
  keyRowsKernel,
  keyRowsParams,
  type PrepareVariant,
  prepareKernel,
  prepareParams,
} from "./prepare.wgsl.js";

/** Of preparing and packing. */
export const kernels = new KeptKernels();

export function prepareOnWebGpu(
  device: WebGpuDevice,
  qkv: Tensor,
  pages: PackedPages,
  plan: PreparePlan,
  step: Step,
): void {
  const { format } = pages;
  const { kvHeads, headDim, meanPairs } = format;
  const { heads, rope, qNorm, kNorm, keyRows, eps } = plan;
  const hasRing = ringTokens(format) > 0;
  // Keys are needed before rotary: their rows are made first, unless they come from the rounded ones.
  if (keyRows && !hasRing) keyRowsOnWebGpu(device, qkv, pages, { ...plan, keyRows, source: "raw" }, step);
  const v: PrepareVariant = {
    ...{ headDim, rope: rope !== undefined, qNorm: qNorm !== undefined, kNorm: kNorm !== undefined },
    ...{ keyRotation: format.ropeAtRead ? 0 : format.keyRotation, valueRotation: format.valueRotation },
    ...{ meanPairs, valueMean: format.valueMean ?? false, toHalves: hasRing },
  };
  const mean = meanPairs > 0 ? [pages.mean, pages.pairs, plan.meanTerms] : [];
  const groups = step.tokenCount * Math.ceil((heads + 2 * kvHeads) / HEADS_PER_GROUP);
  device.run(kernels.of(prepareKernel, v), {
    buffers: present([qkv, step.tokens, rope?.table, qNorm, kNorm, ...mean, valueMeanOf(pages)]),
    params: prepareParams.write({
      ...{ tokens: step.tokenCount, heads, kvHeads, eps, zero: 0 },
      ...rotarySizes(rope),
    }),
    grid: folded(groups),
    cost: { bytes: 2 * qkv.byteLength, operations: 10 * qkv.size },
  });
  if (keyRows && hasRing) keyRowsOnWebGpu(device, qkv, pages, { ...plan, keyRows, source: "own" }, step);
}

/** The mean value, where the format takes one off. */
export const valueMeanOf = ({ format, valueMean }: PackedPages): Tensor | undefined =>
  format.valueMean ? valueMean : undefined;

export interface WebGpuKeyRowPlan {
  readonly heads: number;
  readonly rope: RopeTable | undefined;
  readonly kNorm: Tensor | undefined;
  readonly eps: number;
  readonly keyRows: Tensor;
  readonly source: KeyRowsVariant["source"];
}

export function keyRowsOnWebGpu(
  device: WebGpuDevice,
  qkv: Tensor,
  { format, side, cuts, order }: PackedPages,
  plan: WebGpuKeyRowPlan,
  step: Step,
): void {
  const { kvHeads, headDim, keyRotation, sinks, recent, marked, ordered } = format;
  const { heads, rope, source, keyRows } = plan;
  const kNorm = source === "raw" ? plan.kNorm : undefined;
  // Without rotary there is nothing to take back.
  const v = { headDim, keyRotation, ordered, source, kNorm: kNorm !== undefined };
  const ring = ringTokens(format);
  const blocks = (kvHeads * headDim) / (keyRotation || headDim);
  device.run(kernels.of(keyRowsKernel, v), {
    buffers: present([
      ...[keyRows, step.tokens],
      ...(source === "ring" ? [side, step.rows, cuts] : [qkv]),
      ...[source === "raw" ? undefined : rope?.table, kNorm, ordered ? order : undefined],
    ]),
    params: keyRowsParams.write({
      ...{ tokens: step.tokenCount, heads, kvHeads, eps: plan.eps, zero: 0 },
      ...{ ...rotarySizes(rope), inverseSquare: 1 / (rope?.attentionFactor ?? 1) ** 2 },
      ...{ sinks, recent, ring, entries: sinks + ring + marked },
    }),
    grid: folded(step.tokenCount * blocks),
    cost: { bytes: 2 * keyRows.byteLength, operations: 10 * keyRows.size },
  });
}

function rotarySizes(rope: RopeTable | undefined) {
  return { rotaryDim: rope?.rotaryDim ?? 0, highLines: rope?.highLines ?? 1 };
}

/** Workgroups over two dimensions, where one would be too long. */
export function folded(groups: number): [number, number] {
  const width = Math.max(1, Math.min(groups, 65_535));
  return [width, Math.ceil(groups / width)];
}

export function present<T>(list: readonly (T | undefined)[]): T[] {
  return list.filter((item) => item !== undefined);
}
