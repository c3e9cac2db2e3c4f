/** Attention on the CPU: arguments, scratch and tasks of the kernels in attention.as.ts. */
import { type CpuDevice, type CpuLaunch, f32 } from "../../device/index.js";
import { empty, type Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import type { AttentionPlan } from "./attention.js";
import type { KvPages } from "./kv-pages.js";
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
  const bytes = prefillScratchBytes(headDim, plan.heads / kvHeads);
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
  const bytes = decodeScratchBytes(headDim, plan.heads / kvHeads);
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

/** Panels of keys and values, a block of scores and of probabilities; for each four queries of a tile: statistics, q, sums. */
function prefillScratchBytes(headDim: number, group: number): number {
  const panels = Math.ceil(headDim / 8);
  return roundUp(headDim * 256 + panels * 2048 + 2048 + group * (256 + headDim * 128 + panels * 1024));
}

/** Four keys; for each head: a page's scores, statistics, q, sums. */
function decodeScratchBytes(headDim: number, group: number): number {
  return roundUp(headDim * 16 + group * (256 + 16 + headDim * 8));
}
