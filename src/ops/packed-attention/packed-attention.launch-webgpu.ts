/** Attention over packed pages on WebGPU: parts from each segment and the side store, combined (decode); tiles (prefill). */
import type { Cost, WebGpuDevice, WebGpuKernel } from "../../device/index.js";
import { empty, ShapeError, type Tensor } from "../../tensor/index.js";
import { PACKED_PAGE_TOKENS, type PackedFormat, pageSections } from "../packed-kv/format.js";
import type { PackedPages, PackedSegment } from "../packed-kv/packed-pages.js";
import type { Step } from "../step/layout.js";
import { combineKernel, combineParams, type FinishVariant, unrotateKernel, unrotateParams } from "./combine.wgsl.js";
import { type DecodeVariant, decodeKernel, decodeParams, partWidth } from "./decode.wgsl.js";
import { type NearVariant, nearKernel, nearParams } from "./near.wgsl.js";
import type { PackedAttentionPlan } from "./packed-attention.js";
import { type PrefillVariant, prefillKernel, prefillParams } from "./prefill.wgsl.js";
import { RESTORE_TOKENS, type RestoreVariant, restoreKernel, restoreParams, restorePart } from "./restore.wgsl.js";
import {
  canRotateInRegisters,
  ROTATED_SCORES_BYTES,
  type RotatedScoresVariant,
  rotatedScoresKernel,
} from "./rotated-scores.wgsl.js";

const kernels = new Map<string, WebGpuKernel>();

/** The same object for the same variant, so that the pipeline cache need not look at the text. */
function kept<V>(make: (v: V) => WebGpuKernel, v: V): WebGpuKernel {
  const key = `${make.name} ${JSON.stringify(v)}`;
  let kernel = kernels.get(key);
  if (!kernel) {
    kernel = make(v);
    kernels.set(key, kernel);
  }
  return kernel;
}

export function packedAttentionOnWebGpu(
  device: WebGpuDevice,
  qkv: Tensor,
  stores: readonly PackedPages[],
  plan: PackedAttentionPlan,
  step: Step,
  out: Tensor,
): void {
  if (step.isDecode) decode(device, qkv, stores, plan, step, out);
  else prefill(device, qkv, stores, plan, step, out);
}

/** Numbers that a lane holds of q, and of the sums, in decode attention: they live in registers. */
const LANE_NUMBERS = 32;

/** The query heads that a workgroup takes together, and the lanes that share a token. */
export function decodeShape(
  format: PackedFormat,
  headsPerKvHead: number,
  smallestSubgroup: number | undefined,
): Pick<DecodeVariant, "group" | "lanes" | "subgroups"> {
  const { headDim } = format;
  const mostLanes = Math.min(8, smallestSubgroup ?? 8);
  let lanes = 1;
  let group = Math.min(headsPerKvHead, 8);
  while (headsPerKvHead % group !== 0) group -= 1;
  while (lanes < mostLanes && (group * headDim) / lanes > LANE_NUMBERS) lanes *= 2;
  while (group > 1 && (group * headDim) / lanes > 4 * LANE_NUMBERS) {
    do group -= 1;
    while (headsPerKvHead % group !== 0);
  }
  return { group, lanes, subgroups: smallestSubgroup !== undefined };
}

/** Workgroups that fill a big GPU. With few heads even single pages are shared out, with many a share has four and more. */
const ENOUGH_WORKGROUPS = 1024;
const MANY_GROUPS = 16;
const PAGES_PER_SPLIT = 4;
const MOST_SPLITS = 256;

/**
 * Shares of the context in the launch of each segment. A segment with half of the pages does half of the work, in half of the
 * shares: it gets twice as many.
 *
 * @param groups Workgroups for each share.
 * @param pages Pages of the longest context.
 */
function decodeSplits(groups: number, pages: number, held: readonly number[]): number[] {
  const total = held.reduce((sum, count) => sum + count, 0);
  const most = Math.min(MOST_SPLITS, Math.ceil(pages / (groups >= MANY_GROUPS ? PAGES_PER_SPLIT : 1)));
  return held.map((count) => Math.max(1, Math.min(most, Math.ceil((ENOUGH_WORKGROUPS / groups) * (total / count)))));
}

function decode(
  device: WebGpuDevice,
  qkv: Tensor,
  stores: readonly PackedPages[],
  plan: PackedAttentionPlan,
  step: Step,
  out: Tensor,
): void {
  const first = stores[0]!;
  const { headDim, kvHeads, valueRotation } = first.format;
  const results = step.tokenCount * plan.heads;
  const { subgroups, subgroupSize } = device.features;
  const pages = Math.ceil(Math.min(step.lengthBound, plan.window) / PACKED_PAGE_TOKENS) + 1;
  const launches = stores.flatMap((store) => store.segments.map((segment) => ({ store, segment })));
  const shapes = stores.map(({ format }) =>
    decodeShape(format, plan.heads / kvHeads, subgroups ? subgroupSize.min : undefined),
  );
  const group = shapes[0]!.group;
  const splits = decodeSplits(
    results / group,
    pages,
    launches.map(({ segment }) => segment.pages),
  );
  const partCount = splits.reduce((sum, count) => sum + count, 0) + 1;
  const parts = empty(device, [partCount, results, partWidth(headDim)]);
  let firstPart = 0;
  launches.forEach(({ store, segment }, i) => {
    const { format, pageTable, cuts, blocks, skips, pairs } = store;
    const variant: DecodeVariant = {
      format: forKernel(format),
      ...shapes[stores.indexOf(store)]!,
      skips: skips !== undefined,
    };
    const { rope, meanTerms } = plan;
    const scores = format.ropeAtRead ? rotatedScores(device, qkv, store, segment, plan, step) : undefined;
    const buffers = [qkv, segment.values, pageTable, step.tokens, cuts, parts, scores ?? segment.keys];
    if (blocks && format.keys.layout === "channel") buffers.push(blocks);
    if (skips) buffers.push(skips);
    if (format.meanPairs > 0) buffers.push(meanTerms!, rope!.table, pairs!);
    device.run(kept(decodeKernel, variant), {
      buffers,
      params: decodeParams.write({
        tokens: step.tokenCount,
        heads: plan.heads,
        pagesPerSlot: pageTable.shape[1]!,
        firstPage: segment.firstPage,
        pages: segment.pages,
        window: plan.window,
        splits: splits[i]!,
        firstPart,
        scale: plan.scale,
        tableWidth: (blocks ?? skips)?.shape[1] ?? 0,
        rotaryDim: rope?.rotaryDim ?? 0,
        highLines: rope?.highLines ?? 1,
        inverseFactor: 1 / (rope?.attentionFactor ?? 1),
        scoreStride: scores?.shape[2] ?? 0,
      }),
      grid: [plan.heads / variant.group, step.tokenCount, splits[i]!],
      cost: costOf(store, plan, step),
    });
    firstPart += splits[i]!;
    scores?.dispose();
  });
  near(device, qkv, first, plan, step, parts, partCount - 1);
  combine(device, parts, out, { headDim, rotation: valueRotation });
  parts.dispose();
}

/** @param parts [part, T·H, PART] */
function combine(device: WebGpuDevice, parts: Tensor, out: Tensor, finish: FinishVariant): void {
  const [count, results] = parts.shape as [number, number];
  device.run(kept(combineKernel, finish), {
    buffers: [parts, out],
    params: combineParams.write({ results, parts: count }),
    grid: resultsGrid(results),
  });
}

function near(
  device: WebGpuDevice,
  qkv: Tensor,
  store: PackedPages,
  plan: PackedAttentionPlan,
  step: Step,
  parts: Tensor,
  part: number,
): void {
  const { format, side, cuts, markedTokens } = store;
  const variant: NearVariant = { format: forKernel(format), side: side !== undefined };
  const buffers = [qkv, step.tokens, cuts, parts];
  if (side) buffers.push(side);
  if (side && format.marked > 0) buffers.push(markedTokens!);
  device.run(kept(nearKernel, variant), {
    buffers,
    params: nearParams.write({
      tokens: step.tokenCount,
      heads: plan.heads,
      window: plan.window,
      scale: plan.scale,
      part,
    }),
    grid: [plan.heads, step.tokenCount],
  });
}

const MANY_SLOTS = 32_768;

/** Scores of a decode step's queries with the packed keys of a segment: f32 [T, H, slots], in units of log 2. */
function rotatedScores(
  device: WebGpuDevice,
  qkv: Tensor,
  store: PackedPages,
  segment: PackedSegment,
  plan: PackedAttentionPlan,
  step: Step,
): Tensor {
  const { kvHeads } = store.format;
  const slots = Math.ceil(step.lengthBound / PACKED_PAGE_TOKENS) * PACKED_PAGE_TOKENS;
  const scores = empty(device, [step.tokenCount, plan.heads, slots]);
  const shared = plan.heads / kvHeads;
  const buffers = [segment.keys, store.pageTable, step.tokens, store.cuts, plan.rope!.table, scores, qkv];
  if (store.format.ordered) buffers.push(store.order!);
  const { features, limits } = device;
  const { headDim } = store.format;
  const params = restoreNumbers(store, segment, plan, slots, 0);
  if (
    canRotateInRegisters(store.format, shared) &&
    plan.rope!.rotaryDim === headDim &&
    limits.maxWorkgroupStorageBytes >= ROTATED_SCORES_BYTES
  ) {
    // Many tokens a workgroup, where there are enough of them, spread what it costs to begin.
    const subgroups = features.subgroups && features.subgroupSize.min >= 32;
    const tokens = slots * step.tokenCount >= MANY_SLOTS ? 64 : 16;
    const variant: RotatedScoresVariant = {
      format: forKernel(store.format),
      headsPerKvHead: shared,
      tokens,
      subgroups,
    };
    device.run(kept(rotatedScoresKernel, variant), { buffers, params, grid: [slots / tokens, step.tokenCount] });
  } else {
    const variant = restoreVariant(store.format, shared);
    device.run(kept(restoreKernel, variant), { buffers, params, grid: [slots / RESTORE_TOKENS, step.tokenCount] });
  }
  return scores;
}

/** Keys of token slots from … from + count − 1 of every row, as prompt attention reads them: f32 [R, count, G, D]. */
function restoreKeys(
  device: WebGpuDevice,
  store: PackedPages,
  plan: PackedAttentionPlan,
  step: Step,
  from: number,
  restored: Tensor,
): void {
  const count = restored.shape[1]!;
  const variant = restoreVariant(store.format, 0);
  for (const segment of store.segments) {
    const buffers = [segment.keys, store.pageTable, step.rows, store.cuts, plan.rope!.table, restored];
    if (store.format.ordered) buffers.push(store.order!);
    device.run(kept(restoreKernel, variant), {
      buffers,
      params: restoreNumbers(store, segment, plan, count, from),
      grid: [count / RESTORE_TOKENS, step.rowCount],
    });
  }
}

function restoreVariant(format: PackedFormat, headsPerKvHead: number): RestoreVariant {
  const part = restorePart(format);
  if (part === 0) {
    const { keyRotation, headDim } = format;
    throw new ShapeError("packedAttention", "keyRotation", `blocks and heads of D = ${headDim} that meet within 3840`, [
      keyRotation,
    ]);
  }
  return { format: forKernel(format), headsPerKvHead, part };
}

function restoreNumbers(
  { pageTable }: PackedPages,
  segment: PackedSegment,
  { heads, window, scale, rope }: PackedAttentionPlan,
  stride: number,
  fromSlot: number,
): Uint8Array {
  return restoreParams.write({
    ...{ heads, window, scale, stride, fromSlot },
    pagesPerSlot: pageTable.shape[1]!,
    firstPage: segment.firstPage,
    pages: segment.pages,
    rotaryDim: rope!.rotaryDim,
    highLines: rope!.highLines,
  });
}

/** "All token slots". */
const ALL_SLOTS = 2 ** 30;

function prefill(
  device: WebGpuDevice,
  qkv: Tensor,
  stores: readonly PackedPages[],
  plan: PackedAttentionPlan,
  step: Step,
  out: Tensor,
): void {
  const { headDim, valueRotation } = stores[0]!.format;
  const { tiles } = step;
  if (!tiles) throw new ShapeError("packedAttention", "step.tiles", "tiles, as the step is no decode step", "none");
  const launches = stores.flatMap((store) =>
    chunksOf(store, step).flatMap((chunk) => store.segments.map((segment) => ({ store, segment, ...chunk }))),
  );
  const carry = launches.length > 1;
  const results = step.tokenCount * plan.heads;
  const carried = carry ? empty(device, [1, results, partWidth(headDim)]) : undefined;
  let restored: Tensor | undefined;
  launches.forEach(({ store, segment, fromSlot, toSlot }, i) => {
    const { format, pageTable, cuts, blocks, skips, pairs, side, markedTokens } = store;
    const variant: PrefillVariant = {
      ...{ format: forKernel(format), skips: skips !== undefined, side: side !== undefined, carry },
    };
    if (format.ropeAtRead && segment === store.segments[0]) {
      const { kvHeads } = format;
      restored ??= empty(device, [step.rowCount, toSlot - fromSlot, kvHeads * headDim]);
      restoreKeys(device, store, plan, step, fromSlot, restored);
    }
    const { rope, meanTerms } = plan;
    const keys = format.ropeAtRead ? restored! : segment.keys;
    const buffers = [qkv, keys, segment.values, pageTable, step.rows, tiles, cuts, carried ?? out];
    if (side) buffers.push(side);
    if (side && format.marked > 0) buffers.push(markedTokens!);
    if (blocks && format.keys.layout === "channel") buffers.push(blocks);
    if (skips) buffers.push(skips);
    if (format.meanPairs > 0) buffers.push(meanTerms!, rope!.table, pairs!);
    device.run(kept(prefillKernel, variant), {
      buffers,
      params: prefillParams.write({
        heads: plan.heads,
        pagesPerSlot: pageTable.shape[1]!,
        firstPage: segment.firstPage,
        pages: segment.pages,
        window: plan.window,
        scale: plan.scale,
        tableWidth: (blocks ?? skips)?.shape[1] ?? 0,
        rotaryDim: rope?.rotaryDim ?? 0,
        highLines: rope?.highLines ?? 1,
        fromSlot,
        toSlot,
        restored: toSlot - fromSlot,
        hasNear: Number(i === 0),
        isFirst: Number(i === 0),
      }),
      grid: [tiles.shape[0]!, plan.heads],
      cost: costOf(store, plan, step),
    });
  });
  restored?.dispose();
  const finish: FinishVariant = { headDim, rotation: valueRotation };
  if (carried) combine(device, carried, out, finish);
  else unrotate(device, out, finish);
  carried?.dispose();
}

/** Token slots whose keys are restored at a time, over all rows of a step. */
const RESTORED_SLOTS = 4096;

/** The shares of the context that a prompt's launches take: all of it, or as much as is restored at a time. */
function chunksOf({ format }: PackedPages, step: Step): { readonly fromSlot: number; readonly toSlot: number }[] {
  if (!format.ropeAtRead) return [{ fromSlot: 0, toSlot: ALL_SLOTS }];
  const pages = Math.max(1, Math.floor(RESTORED_SLOTS / step.rowCount / PACKED_PAGE_TOKENS));
  const all = Math.ceil(step.lengthBound / PACKED_PAGE_TOKENS);
  const slots = Math.min(pages, all) * PACKED_PAGE_TOKENS;
  return Array.from({ length: Math.ceil((all * PACKED_PAGE_TOKENS) / slots) }, (_, i) => ({
    fromSlot: i * slots,
    toSlot: (i + 1) * slots,
  }));
}

function unrotate(device: WebGpuDevice, out: Tensor, finish: FinishVariant): void {
  if (finish.rotation < 2) return;
  const results = out.size / finish.headDim;
  device.run(kept(unrotateKernel, finish), {
    buffers: [out],
    params: unrotateParams.write({ results }),
    grid: resultsGrid(results),
  });
}

/** What a kernel's text depends on; the rest must not make another kernel. */
function forKernel(format: PackedFormat): PackedFormat {
  const read = ({ unbiased: _, ...side }: PackedFormat["keys"]) => ({ ...side, clip: 1 });
  const { valueMean: __, ...same } = format;
  return { ...same, keys: read(format.keys), values: read(format.values) };
}

function resultsGrid(results: number): [number, number] {
  const width = Math.min(results, 65_535);
  return [width, Math.ceil(results / width)];
}

/** An upper bound: every token against the longest row. */
function costOf({ format }: PackedPages, plan: PackedAttentionPlan, step: Step): Cost {
  const length = Math.min(step.lengthBound, plan.window);
  const { headDim, kvHeads, keys, values } = format;
  const words = pageSections(keys, kvHeads, headDim).words + pageSections(values, kvHeads, headDim).words;
  return {
    bytes: (4 * step.rowCount * length * words) / PACKED_PAGE_TOKENS + 8 * step.tokenCount * plan.heads * headDim,
    operations: 4 * step.tokenCount * length * plan.heads * headDim,
  };
}
