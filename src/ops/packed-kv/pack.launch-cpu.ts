/** packKv on the CPU: arguments of the kernels in pack.as.ts. */
import { type CpuDevice, type CpuLaunch, f32 } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import { blockTokens, pageSections, ringTokens, type SideFormat } from "./format.js";
import type { PackPlan, PackSource } from "./pack.js";
import type { PackedPages } from "./packed-pages.js";
import { KEY_SOURCE, launchKeyRows, rotationScale } from "./prepare.launch-cpu.js";

const quantisers = { zp: 0, min: 1, levels: 2, even: 3 } as const;

export function packOnCpu(
  device: CpuDevice,
  qkv: Tensor,
  pages: PackedPages,
  plan: PackPlan | undefined,
  heads: number,
  step: Step,
  part: "pages" | "side" | "both",
): void {
  if (part === "both") {
    packOnCpu(device, qkv, pages, plan, heads, step, "pages");
    packOnCpu(device, qkv, pages, plan, heads, step, "side");
    return;
  }
  const { format, side, markedTokens } = pages;
  const { kvHeads, headDim, sinks, recent, marked } = format;
  const ring = ringTokens(format);
  const sideArguments: CpuLaunch["arguments"] = [
    ...[qkv, step.tokens, step.rows, pages.cuts, side, markedTokens],
    ...[heads, kvHeads, headDim, sinks, recent, blockTokens(format), ring, marked, sinks + ring + marked],
  ];
  if (part === "side") {
    if (!side) return;
    device.run("packKvSide", {
      arguments: sideArguments,
      tasks: step.tokenCount,
      cost: { bytes: step.tokenCount * 12 * kvHeads * headDim, operations: 0 },
    });
    return;
  }
  if (plan) packPages(device, qkv, pages, plan, heads, step);
  if (side && marked > 0 && ring > 0) {
    device.run("packKvMarked", { arguments: sideArguments, tasks: step.rowCount * marked });
  }
}

function packPages(
  device: CpuDevice,
  qkv: Tensor,
  pages: PackedPages,
  plan: PackPlan,
  heads: number,
  step: Step,
): void {
  const { format } = pages;
  const { kvHeads, headDim, sinks, recent, marked } = format;
  const { keys, values, rope, ringKeys } = plan;
  const ring = ringTokens(format);
  const block = blockTokens(format);
  if (ringKeys) {
    const rows = { heads, rope, kNorm: undefined, eps: 0, keyRows: ringKeys, source: KEY_SOURCE.ring };
    launchKeyRows(device, qkv, pages, rows, step);
  }
  const bytes = Math.ceil(((block + 2) * headDim * 4) / 64) * 64;
  const keyRotation = format.ropeAtRead ? 0 : format.keyRotation;
  device.run("packKvPages", {
    arguments: [
      ...[
        sliceFrom(keys),
        sliceFrom(values),
        ringKeys,
        step.tokens,
        step.rows,
        pages.pageTable,
        pages.cuts,
        pages.side,
      ],
      ...[rope?.table, plan.mean, device.workerScratch(bytes), bytes, keys.stride, values.stride, kvHeads, headDim],
      ...[pages.pageTable.shape[1]!, sinks, recent, block, ring, sinks + ring + marked],
      ...[rope?.rotaryDim ?? 0, rope?.highLines ?? 1, keyRotation, rotationScale(keyRotation), pages.segments.length],
      ...sideWords(format.keys, kvHeads, headDim),
      ...sideWords(format.values, kvHeads, headDim),
      ...pages.segments.flatMap((s) => [s.keys, s.values, s.firstPage, s.pages]),
    ],
    tasks: step.tokenCount * 2 * kvHeads,
    cost: { bytes: step.tokenCount * 8 * kvHeads * headDim, operations: step.tokenCount * 20 * kvHeads * headDim },
  });
}

function sliceFrom({ tensor, offset }: PackSource) {
  return {
    allocation: tensor.allocation,
    byteOffset: tensor.byteOffset + 4 * offset,
    byteLength: tensor.byteLength - 4 * offset,
  };
}

function sideWords(side: SideFormat, kvHeads: number, headDim: number): CpuLaunch["arguments"] {
  const at = pageSections(side, kvHeads, headDim);
  const clip = Math.fround(side.clip);
  return [
    ...[side.bits, side.layout === "channel" ? 1 : 0, side.group, quantisers[side.quantiser], side.unbiased ? 1 : 0],
    ...[f32(clip), f32(1 - clip), f32(1 / (2 ** side.bits - 1)), side.norm ? 1 : 0],
    ...[at.rowWords, at.params, at.scales, at.words],
  ];
}
