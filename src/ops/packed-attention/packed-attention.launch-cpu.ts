/** Attention over packed pages on the CPU: arguments, scratch and tasks of packed-decode, packed-prefill and packed-combine. */
import { type BufferSlice, type CpuDevice, type CpuLaunch, f32 } from "../../device/index.js";
import { empty, type Tensor } from "../../tensor/index.js";
import { tilesOf } from "../attention/schedule.js";
import {
  blockTokens,
  PACKED_PAGE_TOKENS,
  type PackedFormat,
  pageSections,
  ringTokens,
  type SideFormat,
} from "../packed-kv/format.js";
import type { PackedPages } from "../packed-kv/packed-pages.js";
import { rotationScale } from "../packed-kv/prepare.launch-cpu.js";
import type { Step } from "../step/layout.js";
import type { PackedAttentionPlan } from "./packed-attention.js";

/** 1,024 keys: less is not worth a task of its own. */
const PAGES_PER_SPLIT = 8;

export function packedAttentionOnCpu(
  device: CpuDevice,
  qkv: Tensor,
  stores: readonly PackedPages[],
  plan: PackedAttentionPlan,
  step: Step,
  out: Tensor,
): void {
  const { valueMean } = stores[0]!;
  const { headDim, kvHeads, valueRotation, valueMean: hasMean } = stores[0]!.format;
  const results = step.tokenCount * plan.heads;
  const splits = step.isDecode ? splitsOf(step, plan) : 1;
  const count = splits * stores.length;
  // A single part is combined where it lies.
  const parts = count > 1 ? empty(device, [count, results, headDim]) : out;
  const stats = empty(device, [count, results, 2]);
  stores.forEach((pages, i) => {
    const { format } = pages;
    const tasks = format.ropeAtRead ? 1 : format.kvHeads;
    const bytes = scratchBytes(format, plan.heads, step.isDecode);
    device.run(step.isDecode ? "packedAttentionDecode" : "packedAttentionPrefill", {
      arguments: [
        ...[qkv, step.tokens, step.rows, step.isDecode ? undefined : tilesOf(step)],
        ...[floatsFrom(parts, i * splits * results * headDim), floatsFrom(stats, i * splits * results * 2)],
        ...tables(pages, plan),
        ...[device.workerScratch(bytes), bytes],
        ...sizes(pages, plan, step, splits, i === 0),
        ...side(format.keys, format),
        ...side(format.values, format),
        pages.segments.length,
        ...pages.segments.flatMap((s) => [s.keys, s.values, s.firstPage, s.pages]),
      ],
      tasks: (step.isDecode ? step.tokenCount * splits : tilesOf(step).shape[0]!) * tasks,
      chunk: 1,
      cost: costOf(pages, plan, step),
    });
  });
  device.run("packedAttentionCombine", {
    arguments: [
      ...[parts, stats, out, hasMean ? valueMean : undefined, count, results, headDim],
      ...[valueRotation, rotationScale(valueRotation), plan.heads, plan.heads / kvHeads],
    ],
    tasks: results,
  });
  if (parts !== out) parts.dispose();
  stats.dispose();
}

function floatsFrom(t: Tensor, first: number): BufferSlice {
  return { allocation: t.allocation, byteOffset: t.byteOffset + 4 * first, byteLength: t.byteLength - 4 * first };
}

/** Shares of the context in a decode step: by the step's bound and the window alone, so that threads do not change sums. */
function splitsOf(step: Step, plan: PackedAttentionPlan): number {
  const pages = Math.ceil(Math.min(step.lengthBound, plan.window) / PACKED_PAGE_TOKENS);
  let splits = 1;
  while (splits < 64 && splits * PAGES_PER_SPLIT < pages) splits *= 2;
  return splits;
}

function tables(pages: PackedPages, plan: PackedAttentionPlan): CpuLaunch["arguments"] {
  const { pageTable, side, cuts, blocks, markedTokens, skips, order, pairs } = pages;
  return [
    ...[pageTable, side, cuts, blocks, side && markedTokens, skips, order, pairs],
    pages.format.meanPairs > 0 ? plan.meanTerms : undefined,
    plan.rope?.table,
  ];
}

function sizes(
  pages: PackedPages,
  plan: PackedAttentionPlan,
  step: Step,
  splits: number,
  isFirst: boolean,
): CpuLaunch["arguments"] {
  const { format, pageTable, blocks, skips, side } = pages;
  const { kvHeads, headDim, sinks, recent, marked, strictPrefill, ropeAtRead, keyRotation, meanPairs } = format;
  const ring = ringTokens(format);
  return [
    ...[step.tokenCount, plan.heads, kvHeads, headDim, plan.window, splits],
    ...[pageTable.shape[1]!, blocks?.shape[1] ?? 0, skips?.shape[1] ?? 0, sinks + ring + marked],
    // Marked tokens are found in the side store only.
    ...[sinks, recent, ring, side ? marked : 0, blockTokens(format), strictPrefill, isFirst],
    ...[ropeAtRead, keyRotation, meanPairs, plan.rope?.rotaryDim ?? 0, plan.rope?.highLines ?? 1],
    ...[rotationScale(keyRotation), f32(plan.scale), f32(1 / (plan.rope?.attentionFactor ?? 1))],
  ];
}

/** Codes in the panels of packed-rows.inline.as.ts: fields of a word, and words of a row in fours. */
function panelOf({ bits }: SideFormat, headDim: number): { fields: number; chunks: number } {
  const fields = bits === 3 ? 16 : 32 / bits;
  return { fields, chunks: Math.ceil(Math.ceil(headDim / fields) / 4) };
}

/** The words of a `Side`. */
function side(s: SideFormat, { kvHeads, headDim }: PackedFormat): number[] {
  const sections = pageSections(s, kvHeads, headDim);
  const { fields, chunks } = panelOf(s, headDim);
  const isLevels = s.quantiser === "levels";
  const isEven = s.quantiser === "even";
  return [
    isLevels ? 16 + s.bits : s.bits,
    ...[sections.rowWords, sections.words],
    isLevels ? 0 : isEven ? sections.scales : sections.params,
    isLevels || s.norm ? sections.scales : 0,
    isEven ? 1 : 0,
    s.group,
    s.layout === "channel" ? 1 : 0,
    ...[fields, chunks],
  ];
}

const roundUp = (bytes: number) => Math.ceil(bytes / 64) * 64;

/** As the kernels lay their scratch out, in floats of D, G · D or a panel; 512 bytes for what is small. */
function scratchBytes(format: PackedFormat, heads: number, isDecode: boolean): number {
  const { kvHeads, headDim, keys, values, ropeAtRead, meanPairs } = format;
  const own = ropeAtRead ? kvHeads : 1;
  const n = (own * heads) / kvHeads;
  const [k, v] = [panelOf(keys, headDim), panelOf(values, headDim)];
  const [vk, vv] = [4 * k.chunks * k.fields, 4 * v.chunks * v.fields];
  const panel = 4 * Math.max(vk, vv);
  const row = own * headDim;
  const params = 32 * Math.max(k.chunks, v.chunks);
  if (isDecode) {
    const shared = panel + params + 32 + PACKED_PAGE_TOKENS + 4 * row + 2 * vk;
    const head = PACKED_PAGE_TOKENS + 6 + 2 * headDim + 3 * vk + vv + 4 * (k.chunks + v.chunks) + 8 * meanPairs;
    return roundUp(512 + 4 * (shared + n * head));
  }
  const depth = headDim + Math.ceil(meanPairs / 2) * 4;
  const panels = Math.ceil(headDim / 8);
  const columns = ropeAtRead ? 64 * row : 0;
  const shared = 64 * depth + 512 * panels + columns + 128 * headDim + panel + params + 512 + PACKED_PAGE_TOKENS + 96;
  return roundUp(512 + 4 * (shared + n * (64 + 32 * depth + 256 * panels)));
}

/** An upper bound: every token against the longest row, all of it packed. */
function costOf({ format }: PackedPages, plan: PackedAttentionPlan, step: Step): CpuLaunch["cost"] & object {
  const length = Math.min(step.lengthBound, plan.window);
  const { keys, values, kvHeads, headDim } = format;
  const words = pageSections(keys, kvHeads, headDim).words + pageSections(values, kvHeads, headDim).words;
  return {
    bytes: (4 * step.rowCount * length * words) / PACKED_PAGE_TOKENS + 8 * step.tokenCount * plan.heads * headDim,
    operations: 4 * step.tokenCount * length * plan.heads * headDim,
  };
}
