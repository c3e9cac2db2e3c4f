/** prepareKv on the CPU: arguments of the kernels in prepare.as.ts. */
import { type CpuDevice, f32 } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import type { RopeTable } from "../rope/rope.js";
import type { Step } from "../step/layout.js";
import { ringTokens } from "./format.js";
import type { PackedPages } from "./packed-pages.js";
import type { PreparePlan } from "./prepare.js";

export function prepareOnCpu(device: CpuDevice, qkv: Tensor, pages: PackedPages, plan: PreparePlan, step: Step): void {
  const { format } = pages;
  const { kvHeads, headDim, ropeAtRead, valueRotation, meanPairs } = format;
  const { heads, rope, qNorm, kNorm, keyRows } = plan;
  const hasRing = ringTokens(format) > 0;
  // Keys are needed before rotary: their rows are made first, unless they come from the rounded ones.
  if (keyRows && !hasRing) launchKeyRows(device, qkv, pages, { ...plan, keyRows, source: KEY_SOURCE.raw }, step);
  const keyRotation = ropeAtRead ? 0 : format.keyRotation;
  const columns = heads + 2 * kvHeads;
  device.run("prepareKv", {
    arguments: [
      ...[qkv, step.tokens, rope?.table, qNorm, kNorm, pages.mean, pages.pairs, plan.meanTerms],
      ...[heads, kvHeads, headDim, rope?.rotaryDim ?? 0, rope?.highLines ?? 1, f32(plan.eps)],
      ...[keyRotation, rotationScale(keyRotation), valueRotation, rotationScale(valueRotation)],
      ...[meanPairs, hasRing ? 1 : 0, format.valueMean ? pages.valueMean : undefined],
    ],
    tasks: step.tokenCount * columns,
    cost: { bytes: 2 * qkv.byteLength, operations: 10 * qkv.size },
  });
  if (keyRows && hasRing) launchKeyRows(device, qkv, pages, { ...plan, keyRows, source: KEY_SOURCE.own }, step);
}

/** Where `packedKeyRows` takes keys from. */
export const KEY_SOURCE = { raw: 0, own: 1, ring: 2 } as const;

export interface KeyRowPlan {
  readonly heads: number;
  readonly rope: RopeTable | undefined;
  readonly kNorm: Tensor | undefined;
  readonly eps: number;
  readonly keyRows: Tensor;
  readonly source: number;
}

export function launchKeyRows(device: CpuDevice, qkv: Tensor, pages: PackedPages, plan: KeyRowPlan, step: Step): void {
  const { format, order, side, cuts } = pages;
  const { kvHeads, headDim, keyRotation, sinks, recent, marked } = format;
  const { heads, rope, kNorm, keyRows } = plan;
  const ring = ringTokens(format);
  const bytes = Math.ceil((kvHeads * headDim * 4) / 64) * 64;
  device.run("packedKeyRows", {
    arguments: [
      ...[qkv, step.tokens, step.rows, rope?.table, kNorm, order, keyRows, side, cuts],
      ...[device.workerScratch(bytes), bytes, heads, kvHeads, headDim],
      ...[rope?.rotaryDim ?? 0, rope?.highLines ?? 1, f32(plan.eps), keyRotation, rotationScale(keyRotation)],
      ...[f32(1 / (rope?.attentionFactor ?? 1) ** 2), plan.source, sinks, recent, ring, sinks + ring + marked],
    ],
    tasks: step.tokenCount,
    cost: { bytes: 2 * keyRows.byteLength, operations: 10 * keyRows.size },
  });
}

/** fl(1/√width), for the transform's last product. */
export function rotationScale(width: number): ReturnType<typeof f32> {
  return f32(width > 0 ? 1 / Math.sqrt(width) : 1);
}
