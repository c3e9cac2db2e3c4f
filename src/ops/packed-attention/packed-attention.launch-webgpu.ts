/** Attention over packed pages on WebGPU: parts from each segment and the side store, combined (decode); tiles (prefill). */

import type { Cost, WebGpuDevice } from "../../device/index.js";
import { KeptKernels } from "../../device/index.js";
import { empty, ShapeError, type Tensor } from "../../tensor/index.js";
import { PACKED_PAGE_TOKENS, type PackedFormat, pageSections } from "../packed-kv/format.js";
import type { PackedPages, PackedSegment } from "../packed-kv/packed-pages.js";
import type { Step } from "../step/layout.js";
import { combineKernel, combineParams, type FinishVariant, unrotateKernel, unrotateParams } from "./combine.wgsl.js";
import { type DecodeVariant, decodeKernel, decodeParams } from "./decode.wgsl.js";
import { digitBytes } from "./integer-scores.wgsl.js";
import { DECODE_BYTES, partWidth } from "./lanes.js";
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

const kernels = new KeptKernels();

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

/**
 * Query heads that share a key/value head, up to which products with codes are of integers: more share what it costs to take
 * codes apart, and floats are multiplied twice as fast.
 */
const MOST_INTEGER_HEADS = 2;

export type DecodeShape = Pick<DecodeVariant, "group" | "lanes" | "subgroups" | "integerKeys" | "integerValues">;

/** What of a device decides. */
export interface DecodeDevice {
  /** Undefined without subgroups. */
  readonly smallestSubgroup: number | undefined;
  readonly integerDots: boolean;
  readonly workgroupBytes: number;
}

function decodeDevice({ features, limits }: WebGpuDevice): DecodeDevice {
  return {
    smallestSubgroup: features.subgroups ? features.subgroupSize.min : undefined,
    integerDots: features.integerDots,
    workgroupBytes: limits.maxWorkgroupStorageBytes,
  };
}

/** The query heads that a workgroup takes together, the lanes that share a token, and what is multiplied as integers. */
export function decodeShape(
  format: PackedFormat,
  headsPerKvHead: number,
  { smallestSubgroup, integerDots, workgroupBytes }: DecodeDevice,
): DecodeShape {
  const { headDim, keys, values, ropeAtRead } = format;
  const mostLanes = Math.min(8, smallestSubgroup ?? 8);
  let lanes = 1;
  let group = Math.min(headsPerKvHead, 8);
  while (headsPerKvHead % group !== 0) group -= 1;
  while (lanes < mostLanes && (group * headDim) / lanes > LANE_NUMBERS) lanes *= 2;
  while (group > 1 && (group * headDim) / lanes > 4 * LANE_NUMBERS) {
    do group -= 1;
    while (headsPerKvHead % group !== 0);
  }
  const subgroups = smallestSubgroup !== undefined;
  const floats = { group, lanes, subgroups, integerKeys: false, integerValues: false };
  // Values go by fours of a lane's tokens, of which there are as many as lanes.
  lanes = Math.max(lanes, 4);
  const isWhole = (headDim & (headDim - 1)) === 0 && headDim >= 16 * lanes;
  if (!integerDots || group > MOST_INTEGER_HEADS || !isWhole || lanes > mostLanes) return floats;
  const isEven = (side: PackedFormat["keys"]) => side.bits === 2 && side.quantiser !== "levels";
  // By channel, threads that make digits of a lane's channels compare them within a subgroup.
  const canShare =
    keys.layout === "token" ||
    (headDim / (4 * lanes) <= (smallestSubgroup ?? 0) &&
      DECODE_BYTES + digitBytes(format, group, lanes) <= workgroupBytes);
  const integerKeys = isEven(keys) && !ropeAtRead && canShare;
  const integerValues = isEven(values);
  return integerKeys || integerValues ? { group, lanes, subgroups, integerKeys, integerValues } : floats;
}

/**
 * Workgroups that fill a big GPU, those for what is not packed included: where integers are multiplied, all at once (132
 * multiprocessors take four each). With few heads even single pages are shared out, with many a share has four and more.
 */
const ENOUGH_WORKGROUPS = { integers: 512, floats: 1024 };
const MANY_GROUPS = 16;
const PAGES_PER_SPLIT = 4;
const MOST_SPLITS = 256;

/**
 * Shares of the context in the launch of each segment. A segment with half of the pages does half of the work, in half of the
 * shares: it gets twice as many.
 *
 * @param enough Workgroups in all.
 * @param groups Workgroups for each share.
 * @param pages Pages of the longest context.
 */
function decodeSplits(enough: number, groups: number, pages: number, held: readonly number[]): number[] {
  const total = held.reduce((sum, count) => sum + count, 0);
  const most = Math.min(MOST_SPLITS, Math.ceil(pages / (groups >= MANY_GROUPS ? PAGES_PER_SPLIT : 1)));
  return held.map((count) => Math.max(1, Math.min(most, Math.ceil((enough / groups) * (total / count)))));
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
  const { headDim, kvHeads } = first.format;
  const results = step.tokenCount * plan.heads;
  const pages = Math.ceil(Math.min(step.lengthBound, plan.window) / PACKED_PAGE_TOKENS) + 1;
  const launches = stores.flatMap((store) => store.segments.map((segment) => ({ store, segment })));
  const shapes = stores.map(({ format }) => decodeShape(format, plan.heads / kvHeads, decodeDevice(device)));
  const { group, integerKeys, integerValues } = shapes[0]!;
  const enough = ENOUGH_WORKGROUPS[integerKeys || integerValues ? "integers" : "floats"];
  const splits = decodeSplits(
    Math.max(enough - results, 0),
    results / group,
    pages,
    launches.map(({ segment }) => segment.pages),
  );
  const partCount = splits.reduce((sum, count) => sum + count, 0) + 1;
  const parts = empty(device, [partCount, results, partWidth(headDim)]);
  // Where pages are read by one launch, the rest is done beside it.
  let isNearDone = false;
  let firstPart = 0;
  launches.forEach(({ store, segment }, i) => {
    const { format, pageTable, cuts, blocks, skips, pairs } = store;
    const { rope, meanTerms } = plan;
    const scores = format.ropeAtRead ? rotatedScores(device, qkv, store, segment, plan, step) : undefined;
    const buffers = [qkv, segment.values, pageTable, step.tokens, cuts, parts, scores ?? segment.keys];
    if (blocks && format.keys.layout === "channel") buffers.push(blocks);
    if (skips) buffers.push(skips);
    if (format.meanPairs > 0) buffers.push(meanTerms!, rope!.table, pairs!);
    const nearBuffers = nearSide(first);
    isNearDone = launches.length === 1 && buffers.length + nearBuffers.length <= device.limits.maxStorageBuffers;
    if (isNearDone) buffers.push(...nearBuffers);
    const variant: DecodeVariant = {
      ...{ format: forKernel(format), skips: skips !== undefined, near: isNearDone, side: first.side !== undefined },
      ...shapes[stores.indexOf(store)]!,
    };
    device.run(kernels.of(decodeKernel, variant), {
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
        nearPart: partCount - 1,
        scale: plan.scale,
        tableWidth: (blocks ?? skips)?.shape[1] ?? 0,
        rotaryDim: rope?.rotaryDim ?? 0,
        highLines: rope?.highLines ?? 1,
        inverseFactor: 1 / (rope?.attentionFactor ?? 1),
        scoreStride: scores?.shape[2] ?? 0,
      }),
      grid: [plan.heads / variant.group, step.tokenCount, splits[i]! + (isNearDone ? variant.group : 0)],
      cost: costOf(store, plan, step),
    });
    firstPart += splits[i]!;
    scores?.dispose();
  });
  if (!isNearDone) near(device, qkv, first, plan, step, parts, partCount - 1);
  combine(device, parts, out, first, plan);
  parts.dispose();
}

/** What is done with a result, and by which numbers. */
function finishOf({ format, valueMean }: PackedPages, { heads }: PackedAttentionPlan) {
  const mean = format.valueMean ? valueMean : undefined;
  const variant: FinishVariant = {
    headDim: format.headDim,
    rotation: format.valueRotation,
    mean: mean !== undefined,
  };
  return { variant, means: mean ? [mean] : [], sizes: { heads, perGroup: heads / format.kvHeads } };
}

/** @param parts [part, T·H, PART] */
function combine(
  device: WebGpuDevice,
  parts: Tensor,
  out: Tensor,
  store: PackedPages,
  plan: PackedAttentionPlan,
): void {
  const [count, results] = parts.shape as [number, number];
  const { variant, means, sizes } = finishOf(store, plan);
  device.run(kernels.of(combineKernel, variant), {
    buffers: [parts, out, ...means],
    params: combineParams.write({ results, parts: count, ...sizes }),
    grid: resultsGrid(results),
  });
}

/** What the part that is not packed is read from, the step's own columns aside. */
function nearSide({ format, side, markedTokens }: PackedPages): Tensor[] {
  if (!side) return [];
  return format.marked > 0 ? [side, markedTokens!] : [side];
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
  const { format, side, cuts } = store;
  const variant: NearVariant = { format: forKernel(format), side: side !== undefined };
  const buffers = [qkv, step.tokens, cuts, parts, ...nearSide(store)];
  device.run(kernels.of(nearKernel, variant), {
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
    device.run(kernels.of(rotatedScoresKernel, variant), { buffers, params, grid: [slots / tokens, step.tokenCount] });
  } else {
    const variant = restoreVariant(store.format, shared);
    device.run(kernels.of(restoreKernel, variant), {
      buffers,
      params,
      grid: [slots / RESTORE_TOKENS, step.tokenCount],
    });
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
    device.run(kernels.of(restoreKernel, variant), {
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
  const first = stores[0]!;
  const { headDim } = first.format;
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
    device.run(kernels.of(prefillKernel, variant), {
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
  if (carried) combine(device, carried, out, first, plan);
  else unrotate(device, out, first, plan, step);
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

function unrotate(device: WebGpuDevice, out: Tensor, store: PackedPages, plan: PackedAttentionPlan, step: Step): void {
  const { variant, means, sizes } = finishOf(store, plan);
  if (variant.rotation < 2 && !variant.mean) return;
  const results = out.size / variant.headDim;
  device.run(kernels.of(unrotateKernel, variant), {
    buffers: [out, ...means, ...(variant.mean ? [step.tokens] : [])],
    params: unrotateParams.write({ results, ...sizes }),
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
