/** Attention over packed pages on WebGPU: parts from each segment and the side store, combined (decode); tiles (prefill). */
import type { Cost, WebGpuDevice, WebGpuKernel } from "../../device/index.js";
import { empty, ShapeError, type Tensor } from "../../tensor/index.js";
import { PACKED_PAGE_TOKENS, type PackedFormat, pageSections } from "../packed-kv/format.js";
import type { PackedPages } from "../packed-kv/packed-pages.js";
import type { Step } from "../step/layout.js";
import { combineKernel, combineParams, type FinishVariant, unrotateKernel, unrotateParams } from "./combine.wgsl.js";
import { type DecodeVariant, decodeKernel, decodeParams, partWidth } from "./decode.wgsl.js";
import { type NearVariant, nearKernel, nearParams } from "./near.wgsl.js";
import type { PackedAttentionPlan } from "./packed-attention.js";
import { type PrefillVariant, prefillKernel, prefillParams } from "./prefill.wgsl.js";

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
const LANE_NUMBERS = 64;

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
  while (group > 1 && (group * headDim) / lanes > 2 * LANE_NUMBERS) {
    do group -= 1;
    while (headsPerKvHead % group !== 0);
  }
  return { group, lanes, subgroups: smallestSubgroup !== undefined };
}

/** Pages that a workgroup takes at least, so that its end does not outweigh its work; and workgroups that fill a big GPU. */
const PAGES_PER_SPLIT = 2;
const ENOUGH_WORKGROUPS = 2048;
const MOST_SPLITS = 256;

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
  const most = Math.ceil(ENOUGH_WORKGROUPS / ((results / group) * launches.length));
  const splits = Math.max(1, Math.min(MOST_SPLITS, most, Math.ceil(pages / PAGES_PER_SPLIT)));
  const partCount = launches.length * splits + 1;
  const parts = empty(device, [partCount, results, partWidth(headDim)]);
  launches.forEach(({ store, segment }, i) => {
    const { format, pageTable, cuts, blocks, skips, pairs } = store;
    const variant: DecodeVariant = {
      format: forKernel(format),
      ...shapes[stores.indexOf(store)]!,
      skips: skips !== undefined,
    };
    const { rope, meanTerms } = plan;
    const buffers = [qkv, segment.values, pageTable, step.tokens, cuts, parts, segment.keys];
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
        splits,
        firstPart: i * splits,
        scale: plan.scale,
        tableWidth: (blocks ?? skips)?.shape[1] ?? 0,
        rotaryDim: rope?.rotaryDim ?? 0,
        highLines: rope?.highLines ?? 1,
        inverseFactor: 1 / (rope?.attentionFactor ?? 1),
        scoreStride: 0,
      }),
      grid: [plan.heads / variant.group, step.tokenCount, splits],
      cost: costOf(store, plan, step),
    });
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
  const launches = stores.flatMap((store) => store.segments.map((segment) => ({ store, segment })));
  const carry = launches.length > 1;
  const results = step.tokenCount * plan.heads;
  const carried = carry ? empty(device, [1, results, partWidth(headDim)]) : undefined;
  launches.forEach(({ store, segment }, i) => {
    const { format, pageTable, cuts, blocks, skips, pairs, side, markedTokens } = store;
    const variant: PrefillVariant = {
      ...{ format: forKernel(format), skips: skips !== undefined, side: side !== undefined, carry },
    };
    const { rope, meanTerms } = plan;
    const buffers = [qkv, segment.keys, segment.values, pageTable, step.rows, tiles, cuts, carried ?? out];
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
        fromSlot: 0,
        toSlot: ALL_SLOTS,
        restored: 0,
        hasNear: Number(i === 0),
        isFirst: Number(i === 0),
      }),
      grid: [tiles.shape[0]!, plan.heads],
      cost: costOf(store, plan, step),
    });
  });
  const finish: FinishVariant = { headDim, rotation: valueRotation };
  if (carried) combine(device, carried, out, finish);
  else unrotate(device, out, finish);
  carried?.dispose();
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
  const clipless = (side: PackedFormat["keys"]) => ({ ...side, clip: 1 });
  return { ...format, keys: clipless(format.keys), values: clipless(format.values) };
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
