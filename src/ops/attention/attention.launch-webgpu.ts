/**
 * Attention on WebGPU: one launch for as many segments as the device binds. Where the cache has more, sums are carried from
 * launch to launch (prefill) or combined behind them (decode).
 */

import type { WebGpuDevice } from "../../device/index.js";
import { KeptKernels } from "../../device/index.js";
import { empty, type Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import type { AttentionPlan } from "./attention.js";
import { combineOnWebGpu } from "./combine.launch-webgpu.js";
import { decodeGroup, decodeKernel, decodeKeys, decodeParams, decodeShape } from "./decode.wgsl.js";
import type { KvPages, KvSegment } from "./kv-pages.js";
import { prefillHeads, prefillKernel, prefillParams } from "./prefill.wgsl.js";
import { costOf, tilesOf } from "./schedule.js";
import { segmentBuffers, segmentRuns, segmentValues } from "./segments.wgsl.js";

/** Workgroups of a decode step that keep a big GPU busy: two for each multiprocessor of an H100. */
const ENOUGH_WORKGROUPS = 264;
/** Of all tokens, in a launch that has a part of the pages only. */
const MOST_PARTS = 512;
/** What a launch's share of the pages counts as, at least: one in so many. */
const MOST_SHARES = 4;
/** Bindings beside those of segments, at most. */
const DECODE_BUFFERS = 5;
const PREFILL_BUFFERS = 6;

const kernels = new KeptKernels();

export function attentionOnWebGpu(
  device: WebGpuDevice,
  qkv: Tensor,
  pages: KvPages,
  plan: AttentionPlan,
  step: Step,
  out: Tensor,
): void {
  if (step.isDecode) decode(device, qkv, pages, plan, step, out);
  else prefill(device, qkv, pages, plan, step, out);
}

function prefill(
  device: WebGpuDevice,
  qkv: Tensor,
  pages: KvPages,
  plan: AttentionPlan,
  step: Step,
  out: Tensor,
): void {
  const { dtype: store, headDim, kvHeads, pageTable } = pages;
  const tiles = tilesOf(step);
  const most = Math.floor((device.limits.maxStorageBuffers - PREFILL_BUFFERS) / 2);
  const runs = segmentRuns(pages.segments, most);
  const carry = runs.length > 1;
  const heads = prefillHeads(headDim, plan.heads / kvHeads);
  const state = carry ? empty(device, [step.tokenCount, plan.heads, 2]) : undefined;
  runs.forEach((run, i) => {
    const segments = run.length;
    const kernel = kernels.get(`prefill ${store} ${headDim} ${heads} ${segments} ${carry}`, () =>
      prefillKernel({ store, headDim, heads, segments, carry }),
    );
    device.run(kernel, {
      buffers: [qkv, pageTable, step.rows, tiles, out, ...(state ? [state] : []), ...segmentBuffers(run)],
      params: prefillParams(segments).write({
        heads: plan.heads,
        kvHeads,
        pagesPerSlot: pageTable.shape[1]!,
        window: plan.window,
        scale: plan.scale,
        isFirst: Number(i === 0),
        isLast: Number(i === runs.length - 1),
        ...segmentValues(run),
      }),
      grid: [plan.heads / heads, tiles.shape[0]!],
      cost: costOf(pages, plan, step),
    });
  });
  state?.dispose();
}

function decode(device: WebGpuDevice, qkv: Tensor, pages: KvPages, plan: AttentionPlan, step: Step, out: Tensor): void {
  const { dtype: store, headDim, kvHeads, pageTable } = pages;
  const { tokenCount } = step;
  const smallestSubgroup = device.features.subgroups ? device.features.subgroupSize.min : 0;
  const group = decodeGroup(plan.heads / kvHeads, smallestSubgroup);
  const shape = decodeShape(store, headDim, group, smallestSubgroup);
  const runs = segmentRuns(pages.segments, Math.floor((device.limits.maxStorageBuffers - DECODE_BUFFERS) / 2));
  const blocks = Math.ceil(Math.min(step.lengthBound, plan.window) / decodeKeys(shape));
  const splits = decodeSplits(step, blocks, (plan.heads / group) * tokenCount, runs.map(pagesOf));
  const partCount = splits.reduce((sum, count) => sum + count, 0);
  const split = partCount > 1;
  const partial = runs.length > 1;
  const parts = split ? empty(device, [partCount, tokenCount, plan.heads, headDim]) : undefined;
  const stats = split ? empty(device, [partCount, tokenCount, plan.heads, 2]) : undefined;
  let firstPart = 0;
  runs.forEach((run, i) => {
    const segments = run.length;
    const key = `decode ${store} ${headDim} ${group} ${split} ${segments} ${partial} ${smallestSubgroup}`;
    const kernel = kernels.get(key, () => decodeKernel({ store, headDim, group, split, segments, partial, ...shape }));
    device.run(kernel, {
      buffers: [qkv, pageTable, step.tokens, parts ?? out, ...(stats ? [stats] : []), ...segmentBuffers(run)],
      params: decodeParams(segments).write({
        tokens: tokenCount,
        heads: plan.heads,
        kvHeads,
        pagesPerSlot: pageTable.shape[1]!,
        window: plan.window,
        splits: splits[i]!,
        firstPart,
        scale: plan.scale,
        ...segmentValues(run),
      }),
      grid: [plan.heads / group, tokenCount, splits[i]!],
      cost: costOf(pages, plan, step),
    });
    firstPart += splits[i]!;
  });
  if (!parts || !stats) return;
  combineOnWebGpu(device, parts, stats, out);
  parts.dispose();
  stats.dispose();
}

/**
 * Shares of the context in each launch: enough workgroups for a big GPU; more would only mean more parts to combine. Rows of a
 * batch have different lengths: there some more, so that none waits long for the longest. A launch that has few of the pages
 * needs small shares, or few workgroups would do its work.
 *
 * @param others Workgroups for each share.
 * @param pages Pages of each launch.
 */
function decodeSplits(step: Step, blocks: number, others: number, pages: readonly number[]): number[] {
  const enough = step.rowCount > 1 ? 2 * ENOUGH_WORKGROUPS : ENOUGH_WORKGROUPS;
  const alone = Math.ceil(enough / others);
  const most = Math.max(alone, Math.floor(MOST_PARTS / step.tokenCount));
  const total = pages.reduce((sum, count) => sum + count, 0);
  // A launch with a page or two would otherwise be thousands of workgroups that find nothing.
  const least = Math.ceil(total / MOST_SHARES);
  return pages.map((count) => Math.max(1, Math.min(Math.ceil((alone * total) / Math.max(count, least)), most, blocks)));
}

const pagesOf = (run: readonly KvSegment[]): number => run.reduce((sum, { pages }) => sum + pages, 0);
