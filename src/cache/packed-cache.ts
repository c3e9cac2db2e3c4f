/**
 * A cache of packed keys and values: what all packed kinds share. A kind decides the format (`PackedRecipe`); the rooms
 * packed-kv and packed-attention do the work; here is who owns what, and in which order things happen.
 *
 *   append   marks, makes q, k and v ready; with `strictPrefill` packs what the step makes old enough
 *   attend   attention; then packs, unless that is done, and fills the side store
 *
 * Marked tokens, what to skip and the side store are the layer's own; cuts and blocks are shared by the pool's layers.
 */
import type { Device } from "../device/index.js";
import type { AttendOptions, CacheSnapshot, HeadOptions, LayerCache } from "../nn/index.js";
import {
  dropMarks,
  markTokens,
  type PackedFormat,
  type PackedPages,
  type PackedSegment,
  type PreparedKv,
  packedAttention,
  packKv,
  pageSections,
  prepareKv,
  type RopeTable,
  ringTokens,
  type Step,
} from "../ops/index.js";
import { empty, type Tensor, upload, zeros } from "../tensor/index.js";
import type { PackedRecipe } from "./recipe.js";
import type { SlotTables } from "./slot-tables.js";

export interface PackedCacheOptions {
  /** i32 [slots, pagesPerSlot]; the pool's. */
  readonly pageTable: Tensor;
  readonly maxTokens: number;
  readonly slotTables: (format: PackedFormat) => SlotTables;
}

/** A step between `append` and `attend`. */
interface Pending {
  readonly prepared: PreparedKv;
  readonly rope: RopeTable | undefined;
  readonly isPacked: boolean;
}

class PackedSnapshot implements CacheSnapshot {
  constructor(readonly copies: readonly Tensor[]) {}
  [Symbol.dispose](): void {
    for (const copy of this.copies) copy.dispose();
  }
}

export class PackedCache implements LayerCache {
  readonly format: PackedFormat;
  private readonly pages: PackedPages;
  private readonly segments: PackedSegment[] = [];
  /** f32 [slots, marked + 1], see markTokens. */
  private readonly scores: Tensor | undefined;
  private pending: Pending | undefined;
  /** The last rotary table: attention after another step's append needs one too. */
  private rope: RopeTable | undefined;
  private readonly pageWords: { readonly keys: number; readonly values: number };

  constructor(
    private readonly device: Device,
    readonly kind: string,
    readonly recipe: PackedRecipe,
    { pageTable, maxTokens, slotTables }: PackedCacheOptions,
  ) {
    const { format } = recipe;
    const { kvHeads, headDim, sinks, marked } = format;
    this.format = format;
    const words = (side: "keys" | "values") => pageSections(format[side], kvHeads, headDim).words;
    this.pageWords = { keys: words("keys"), values: words("values") };
    const slots = pageTable.shape[0] ?? 0;
    const channels = kvHeads * headDim;
    const entries = sinks + ringTokens(format) + marked;
    const tables = slotTables(format);
    const { order, mean, valueMean } = recipe;
    this.pages = {
      format,
      segments: this.segments,
      pageTable,
      // Zeros: what a kernel reads and leaves out must be finite.
      side: entries > 0 ? zeros(device, [slots, entries, channels], "u32", "side store") : undefined,
      cuts: tables.cuts,
      blocks: tables.blocks,
      markedTokens:
        marked > 0 ? upload(device, new Int32Array(slots * marked).fill(-1), [slots, marked], "i32") : undefined,
      skips: marked > 0 ? zeros(device, [slots, Math.ceil(maxTokens / 32)], "u32", "skips") : undefined,
      order: order && upload(device, order, [channels], "i32"),
      mean: mean && upload(device, mean.values, [kvHeads, headDim], "f32"),
      pairs: mean && upload(device, mean.pairs, [kvHeads, format.meanPairs], "i32"),
      valueMean: valueMean && upload(device, valueMean, [kvHeads, headDim], "f32"),
    };
    this.scores = marked > 0 ? zeros(device, [slots, marked + 1], "f32", "mark scores") : undefined;
  }

  get bytes(): number {
    const pages = this.segments.reduce((sum, { keys, values }) => sum + keys.byteLength + values.byteLength, 0);
    return this.own().reduce((sum, tensor) => sum + tensor.byteLength, pages);
  }

  /** What belongs to this layer alone, pages aside. */
  private own(): Tensor[] {
    const { order, mean, pairs, valueMean } = this.pages;
    return [...this.bySlot(), order, mean, pairs, valueMean].filter((tensor) => tensor !== undefined);
  }

  /** Tensors with a row a slot. */
  private bySlot(): Tensor[] {
    const { side, markedTokens, skips } = this.pages;
    return [side, markedTokens, skips, this.scores].filter((tensor) => tensor !== undefined);
  }

  slotBytes(pages: number): number {
    const { keys, values } = this.pageWords;
    const rows = this.bySlot().reduce((sum, tensor) => sum + tensor.byteLength / (tensor.shape[0] ?? 1), 0);
    return pages * 4 * (keys + values) + rows;
  }

  addPages(firstPage: number, pages: number): void {
    const keys = empty(this.device, [pages, this.pageWords.keys], "u32", "packed keys");
    try {
      const values = empty(this.device, [pages, this.pageWords.values], "u32", "packed values");
      this.segments.push({ keys, values, firstPage, pages });
    } catch (error) {
      keys.dispose();
      throw error;
    }
  }

  append(qkv: Tensor, options: HeadOptions, step: Step): void {
    this.pending?.prepared.dispose();
    this.pending = undefined;
    const { heads, rope, qNorm, kNorm, eps, hidden } = options;
    const { pages, scores } = this;
    const { marks } = this.recipe;
    this.rope = rope;
    if (marks && scores && hidden) markTokens(hidden, pages, scores, marks, step);
    const prepared = prepareKv(
      qkv,
      pages,
      {
        heads,
        ...(rope ? { rope } : {}),
        ...(qNorm ? { qNorm } : {}),
        ...(kNorm ? { kNorm } : {}),
        ...(eps !== undefined ? { eps } : {}),
      },
      step,
    );
    // In a decode step the only token sees itself exactly in any case.
    const isPacked = this.format.strictPrefill && !step.isDecode;
    this.pending = { prepared, rope, isPacked };
    // The side store waits: its entries before the step are still to be read.
    if (isPacked) this.pack(qkv, prepared, heads, step, "pages");
  }

  private pack(qkv: Tensor, prepared: PreparedKv, heads: number, step: Step, part?: "pages" | "side"): void {
    const options = { heads, ...(this.rope ? { rope: this.rope } : {}), ...(part ? { part } : {}) };
    packKv(qkv, prepared, this.pages, options, step);
  }

  attend(qkv: Tensor, { heads, scale, window }: AttendOptions, step: Step): Tensor {
    const { pages, pending } = this;
    this.pending = undefined;
    // Without an append the step's tokens are seen, and not kept.
    const prepared = pending?.prepared ?? prepareKv(qkv, pages, { heads }, step);
    const rope = pending ? pending.rope : this.rope;
    try {
      const out = packedAttention(
        qkv,
        prepared,
        [pages],
        { heads, scale, ...(window !== undefined ? { window } : {}), ...(rope ? { rope } : {}) },
        step,
      );
      if (pending) this.pack(qkv, prepared, heads, step, pending.isPacked ? "side" : undefined);
      return out;
    } finally {
      prepared.dispose();
    }
  }

  keep(qkv: Tensor, options: HeadOptions, step: Step): void {
    this.append(qkv, options, step);
    const { pending } = this;
    this.pending = undefined;
    if (!pending) return;
    try {
      this.pack(qkv, pending.prepared, options.heads, step, pending.isPacked ? "side" : undefined);
    } finally {
      pending.prepared.dispose();
    }
  }

  open(slot: number): void {
    this.trim(slot, 0);
  }

  trim(slot: number, length: number): void {
    if (this.scores) dropMarks(this.pages, this.scores, slot, length);
  }

  snapshot(slot: number): CacheSnapshot | undefined {
    const rows = this.bySlot();
    if (rows.length === 0) return undefined;
    return new PackedSnapshot(
      rows.map((tensor) => {
        const copy = empty(this.device, tensor.shape.slice(1), tensor.dtype, "cache snapshot");
        this.device.copy(rowOf(tensor, slot), copy);
        return copy;
      }),
    );
  }

  restore(slot: number, snapshot: CacheSnapshot | undefined): void {
    if (!(snapshot instanceof PackedSnapshot)) return;
    for (const [i, tensor] of this.bySlot().entries()) {
      const copy = snapshot.copies[i];
      if (copy) this.device.copy(copy, rowOf(tensor, slot));
    }
  }

  dispose(): void {
    this.pending?.prepared.dispose();
    this.pending = undefined;
    for (const { keys, values } of this.segments) {
      keys.dispose();
      values.dispose();
    }
    this.segments.length = 0;
    for (const tensor of this.own()) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function rowOf(tensor: Tensor, slot: number) {
  const byteLength = tensor.byteLength / (tensor.shape[0] ?? 1);
  return { allocation: tensor.allocation, byteOffset: tensor.byteOffset + slot * byteLength, byteLength };
}
