/** Attention on WebGPU: one launch a segment, sums carried between them (prefill) or combined behind them (decode). */
import type { WebGpuDevice, WebGpuKernel } from "../../device/index.js";
import { empty, type Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import type { AttentionPlan } from "./attention.js";
import {
  combineKernel,
  combineParams,
  decodeGroup,
  decodeKernel,
  decodeParams,
  prefillKernel,
  prefillParams,
} from "./attention.wgsl.js";
import type { KvPages } from "./kv-pages.js";
import { costOf, splitsOf, tilesOf } from "./schedule.js";

/** 256 keys: with a few key/value heads this fills a big GPU from some thousand tokens on. */
const MOST_PAGES_PER_SPLIT = 4;
/** Workgroups that keep a big GPU busy; with fewer, each takes less. */
const ENOUGH_WORKGROUPS = 256;

const kernels = new Map<string, WebGpuKernel>();

/** The same object for the same variant, so that the pipeline cache need not look at the text. */
function kept(key: string, make: () => WebGpuKernel): WebGpuKernel {
  let kernel = kernels.get(key);
  if (!kernel) {
    kernel = make();
    kernels.set(key, kernel);
  }
  return kernel;
}

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
  const { dtype: store, headDim, kvHeads, segments, pageTable } = pages;
  const tiles = tilesOf(step);
  const carry = segments.length > 1;
  const kernel = kept(`prefill ${store} ${headDim} ${carry}`, () => prefillKernel({ store, headDim, carry }));
  const state = carry ? empty(device, [step.tokenCount, plan.heads, 2]) : undefined;
  segments.forEach((segment, i) => {
    const buffers = [qkv, segment.keys, segment.values, pageTable, step.rows, tiles, out];
    device.run(kernel, {
      buffers: state ? [...buffers, state] : buffers,
      params: prefillParams.write({
        heads: plan.heads,
        kvHeads,
        pagesPerSlot: pageTable.shape[1]!,
        firstPage: segment.firstPage,
        pages: segment.pages,
        window: plan.window,
        scale: plan.scale,
        isFirst: Number(i === 0),
        isLast: Number(i === segments.length - 1),
      }),
      grid: [tiles.shape[0]!, plan.heads],
      cost: costOf(pages, plan, step),
    });
  });
  state?.dispose();
}

function decode(device: WebGpuDevice, qkv: Tensor, pages: KvPages, plan: AttentionPlan, step: Step, out: Tensor): void {
  const { dtype: store, headDim, kvHeads, segments, pageTable } = pages;
  const results = step.tokenCount * plan.heads;
  const group = decodeGroup(headDim, plan.heads / kvHeads);
  const splitsAt = (pagesPerSplit: number): number => splitsOf(step, plan, pagesPerSplit);
  const workgroups = (pagesPerSplit: number): number =>
    (plan.heads / group) * step.tokenCount * segments.length * splitsAt(pagesPerSplit);
  let pagesPerSplit = MOST_PAGES_PER_SPLIT;
  while (pagesPerSplit > 1 && workgroups(pagesPerSplit / 2) <= ENOUGH_WORKGROUPS) pagesPerSplit /= 2;
  const splits = splitsAt(pagesPerSplit);
  const partCount = splits * segments.length;
  const split = partCount > 1;
  const kernel = kept(`decode ${store} ${headDim} ${group} ${split}`, () =>
    decodeKernel({ store, headDim, group, split }),
  );
  const parts = split ? empty(device, [partCount, results, headDim]) : undefined;
  const stats = split ? empty(device, [partCount, results, 2]) : undefined;
  segments.forEach((segment, i) => {
    const buffers = [qkv, segment.keys, segment.values, pageTable, step.tokens, parts ?? out];
    device.run(kernel, {
      buffers: stats ? [...buffers, stats] : buffers,
      params: decodeParams.write({
        tokens: step.tokenCount,
        heads: plan.heads,
        kvHeads,
        pagesPerSlot: pageTable.shape[1]!,
        firstPage: segment.firstPage,
        pages: segment.pages,
        window: plan.window,
        splits,
        firstPart: i * splits,
        scale: plan.scale,
      }),
      grid: [plan.heads / group, step.tokenCount, splits],
      cost: costOf(pages, plan, step),
    });
  });
  if (!parts || !stats) return;
  const groups = Math.ceil((results * headDim) / 4 / 64);
  const width = Math.min(groups, 65_535);
  device.run(combineKernel, {
    buffers: [parts, stats, out],
    params: combineParams.write({ results, parts: partCount, headDim4: headDim / 4 }),
    grid: [width, Math.ceil(groups / width)],
  });
  parts.dispose();
  stats.dispose();
}
