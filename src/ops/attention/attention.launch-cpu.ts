/** Attention on the CPU: arguments, scratch and tasks of the kernels in attention.as.ts. */
import { type CpuDevice, type CpuLaunch, f32 } from "../../device/index.js";
import { empty, type Tensor } from "../../tensor/index.js";
import { QUERY_TILE, type Step } from "../step/layout.js";
import type { AttentionPlan } from "./attention.js";
import { type KvPages, PAGE_TOKENS } from "./kv-pages.js";
import { costOf, splitsOf, tilesOf } from "./schedule.js";

const kernelSuffix = { f32: "F32", f16: "F16", bf16: "Bf16" } as const;

/** 1,024 keys: less is not worth a task of its own. */
const PAGES_PER_SPLIT = 16;

export function attentionOnCpu(
  device: CpuDevice,
  qkv: Tensor,
  pages: KvPages,
  plan: AttentionPlan,
  step: Step,
  out: Tensor,
): void {
  if (step.isDecode) decode(device, qkv, pages, plan, step, out);
  else prefill(device, qkv, pages, plan, step, out);
}

/** Address words of the segments, behind a kernel's fixed arguments; a new segment means a new capture. */
export function segmentArguments(pages: KvPages): CpuLaunch["arguments"] {
  return pages.segments.flatMap((s) => [s.keys, s.values, s.firstPage, s.pages]);
}

function prefill(device: CpuDevice, qkv: Tensor, pages: KvPages, plan: AttentionPlan, step: Step, out: Tensor): void {
  const { kvHeads, headDim } = pages;
  const tiles = tilesOf(step);
  const bytes = prefillScratchBytes(headDim, plan.heads / kvHeads, pages.dtype !== "f32");
  device.run(`attentionPrefill${kernelSuffix[pages.dtype]}`, {
    arguments: [
      ...[qkv, step.rows, tiles, out, undefined, pages.pageTable, device.workerScratch(bytes), bytes],
      ...sizes(pages, plan, step, 1),
      ...segmentArguments(pages),
    ],
    tasks: tiles.shape[0]! * kvHeads,
    // Late tiles see more keys than early ones: single tasks even that out.
    chunk: 1,
    cost: costOf(pages, plan, step),
  });
}

function decode(device: CpuDevice, qkv: Tensor, pages: KvPages, plan: AttentionPlan, step: Step, out: Tensor): void {
  const { kvHeads, headDim } = pages;
  const results = step.tokenCount * plan.heads;
  const splits = splitsOf(step, plan, PAGES_PER_SPLIT);
  const bytes = decodeScratchBytes(headDim, plan.heads / kvHeads, pages.dtype !== "f32");
  const parts = splits > 1 ? empty(device, [splits, results, headDim]) : undefined;
  const stats = splits > 1 ? empty(device, [splits, results, 2]) : undefined;
  device.run(`attentionDecode${kernelSuffix[pages.dtype]}`, {
    arguments: [
      ...[qkv, step.tokens, undefined, parts ?? out, stats, pages.pageTable, device.workerScratch(bytes), bytes],
      ...sizes(pages, plan, step, splits),
      ...segmentArguments(pages),
    ],
    tasks: step.tokenCount * kvHeads * splits,
    chunk: 1,
    cost: costOf(pages, plan, step),
  });
  if (!parts || !stats) return;
  device.run("attentionCombine", { arguments: [parts, stats, out, splits, results, headDim], tasks: results });
  parts.dispose();
  stats.dispose();
}

function sizes(pages: KvPages, plan: AttentionPlan, step: Step, splits: number): CpuLaunch["arguments"] {
  return [
    step.tokenCount,
    plan.heads,
    pages.kvHeads,
    pages.headDim,
    pages.pageTable.shape[1]!,
    plan.window,
    splits,
    f32(plan.scale),
    pages.segments.length,
  ];
}

const roundUp = (bytes: number) => Math.ceil(bytes / 64) * 64;

/**
 * A page's scores; for each eight queries of a tile: statistics, q, sums; then a page's keys and values, widened, with three
 * lines behind each.
 */
function prefillScratchBytes(headDim: number, group: number, isWidened: boolean): number {
  const blocks = (group * QUERY_TILE) / 8;
  const wide = isWidened ? 2 * (PAGE_TOKENS + 3) * headDim * 4 : 0;
  return roundUp((PAGE_TOKENS + 3) * 32 + blocks * (96 + 2 * headDim * 32) + wide);
}

/** For each four heads: statistics, a page's scores, q, sums; then a page's keys or values, widened. */
function decodeScratchBytes(headDim: number, group: number, isWidened: boolean): number {
  const quads = Math.ceil(group / 4);
  const wide = isWidened ? PAGE_TOKENS * headDim * 4 : 0;
  return roundUp(quads * (32 + 16 * PAGE_TOKENS + headDim * 16 + Math.ceil(headDim / 8) * 128) + wide);
}
