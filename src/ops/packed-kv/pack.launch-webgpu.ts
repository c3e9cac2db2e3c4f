/**
 * packKv on WebGPU: one launch a segment for the pages, one for the side store.
 *
 * In a decode step the first launch writes the side entries too: a step's only token takes the ring's one free entry, which no
 * token that is being packed is in. (No marked token can be in the ring then: the step before has moved it.)
 */
import type { WebGpuDevice } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import { blockTokens, ringTokens } from "./format.js";
import type { PackPlan } from "./pack.js";
import {
  type PackVariant,
  packKernel,
  packMarkedKernel,
  packParams,
  packSideKernel,
  ROWS_PER_GROUP,
  sideParams,
} from "./pack.wgsl.js";
import type { PackedPages } from "./packed-pages.js";
import { folded, kernels, keyRowsOnWebGpu, present } from "./prepare.launch-webgpu.js";

export function packOnWebGpu(
  device: WebGpuDevice,
  qkv: Tensor,
  pages: PackedPages,
  plan: PackPlan | undefined,
  heads: number,
  step: Step,
  part: "pages" | "side" | "both",
): void {
  if (part === "both" && !(step.isDecode && plan && fits(device, pages, plan))) {
    packOnWebGpu(device, qkv, pages, plan, heads, step, "pages");
    packOnWebGpu(device, qkv, pages, plan, heads, step, "side");
    return;
  }
  const { format, side, cuts, markedTokens } = pages;
  const { kvHeads, headDim, sinks, recent, marked } = format;
  const ring = ringTokens(format);
  const channels = kvHeads * headDim;
  const sizes = sideParams.write({
    ...{ tokens: step.tokenCount, rows: step.rowCount, heads, channels, headDim, sinks, recent, ring, marked },
    ...{ block: blockTokens(format), entries: sinks + ring + marked, zero: 0 },
  });
  if (part === "side") {
    if (!side) return;
    device.run(kernels.of(packSideKernel, { marked: markedTokens !== undefined }), {
      buffers: present([qkv, step.tokens, step.rows, cuts, side, markedTokens]),
      params: sizes,
      grid: folded(Math.ceil((step.tokenCount * channels) / 64)),
      cost: { bytes: step.tokenCount * 12 * channels, operations: 0 },
    });
    return;
  }
  if (plan) packPages(device, qkv, pages, plan, heads, step, part === "both");
  if (side && markedTokens && ring > 0 && part === "pages") {
    device.run(kernels.of(packMarkedKernel, {}), {
      buffers: [step.rows, cuts, side, markedTokens],
      params: sizes,
      grid: [marked, step.rowCount],
    });
  }
}

function packPages(
  device: WebGpuDevice,
  qkv: Tensor,
  pages: PackedPages,
  plan: PackPlan,
  heads: number,
  step: Step,
  withSide: boolean,
): void {
  const { format, side, markedTokens } = pages;
  const { kvHeads, headDim, sinks, recent, marked } = format;
  const { keys, values, rope, ringKeys, mean } = plan;
  const ring = ringTokens(format);
  if (ringKeys) {
    const rows = { heads, rope, kNorm: undefined, eps: 0, keyRows: ringKeys, source: "ring" } as const;
    keyRowsOnWebGpu(device, qkv, pages, rows, step);
  }
  const ownKeys = keys.tensor !== values.tensor ? keys.tensor : undefined;
  const v: Omit<PackVariant, "withSide" | "marked"> = {
    ...{ kvHeads, headDim, keys: format.keys, values: format.values, ring: ring > 0 },
    ...{ ownKeys: ownKeys !== undefined, ringKeys: ringKeys !== undefined },
    ...{ mean: mean !== undefined, keyRotation: mean ? format.keyRotation : 0 },
  };
  const units = blockTokens(format) > 1 ? kvHeads : Math.ceil(kvHeads / ROWS_PER_GROUP);
  pages.segments.forEach((segment, i) => {
    const sideHere = withSide && side !== undefined && i === 0;
    const marks = sideHere ? markedTokens : undefined;
    device.run(kernels.of(packKernel, { ...v, withSide: sideHere, marked: marks !== undefined }), {
      buffers: present([
        ...[values.tensor, step.tokens, step.rows, pages.pageTable, pages.cuts, segment.keys, segment.values],
        ...[ring > 0 || sideHere ? side : undefined, ownKeys, ringKeys, mean, mean ? rope?.table : undefined, marks],
      ]),
      params: packParams.write({
        ...{ tokens: step.tokenCount, pagesPerSlot: pages.pageTable.shape[1]! },
        ...{ keyOffset: keys.offset, keyStride: keys.stride, valueOffset: values.offset, valueStride: values.stride },
        ...{ firstPage: segment.firstPage, pages: segment.pages },
        ...{ sinks, recent, ring, entries: sinks + ring + marked, marked },
        ...{ rotaryDim: rope?.rotaryDim ?? 0, highLines: rope?.highLines ?? 1, zero: 0 },
      }),
      grid: [...folded(step.tokenCount * units), sideHere ? 3 : 2],
      cost: { bytes: step.tokenCount * 8 * kvHeads * headDim, operations: step.tokenCount * 20 * kvHeads * headDim },
    });
  });
}

/** Whether one launch may bind all that the pages and the side store need. */
function fits(device: WebGpuDevice, pages: PackedPages, plan: PackPlan): boolean {
  const more = [plan.keys.tensor !== plan.values.tensor, plan.ringKeys, plan.mean, plan.mean, pages.markedTokens];
  return 8 + more.filter(Boolean).length <= device.limits.maxStorageBuffers;
}
