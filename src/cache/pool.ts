/**
 * The pool: cache pages, lightning states and generation controls of all sequences of one model.
 *
 * A sequence is a slot. Pages are shared out by the pool; page p exists in every softmax layer's cache. Pages are added in
 * segments, each as large as all before it together and as what is wanted at once, so a growing context costs few buffers and
 * copies nothing.
 */
import type { Device } from "../device/index.js";
import type { CacheSnapshot, LayerCache } from "../nn/index.js";
import { CONTROL_WORDS, type PackedFormat } from "../ops/index.js";
import { empty, type Tensor, upload, zeros } from "../tensor/index.js";
import type { KvCalibration } from "./calibration.js";
import { PoolError } from "./pool-error.js";
import { type CacheConfig, type CacheKind, cacheKind } from "./registry.js";
import { SlotTables, type SlotTablesSnapshot, slotTablesKey } from "./slot-tables.js";

export { PoolError } from "./pool-error.js";

/** What a model keeps per sequence. */
export interface StateSpec {
  readonly softmaxLayers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Rotary channels of a head. Default: all. */
  readonly rotaryDim?: number;
  /** What some kinds of caches know about the model's keys beforehand. */
  readonly calibration?: KvCalibration | undefined;
  readonly lightningLayers: number;
  readonly lightningHeads: number;
  readonly lightningHeadDim: number;
  readonly vocabSize: number;
  /** Longest sequence that the model's positions allow. */
  readonly maxPositions: number;
}

export interface PoolOptions {
  /** Sequences at a time. Each costs its lightning states from the start: H·d·d·4 bytes a layer. Default 4. */
  readonly slots?: number;
  /** Cache kind: a name of `cacheNames`, with options behind a colon (`normsplit-2:recent=16`), or an object. Default f32. */
  readonly kv?: string | CacheConfig | CacheKind;
  /** Longest sequence; sizes the page table only. Default: the model's maximum, at most 1,048,576. */
  readonly maxTokens?: number;
}

/** Where a sequence stood: its length and everything that later steps overwrite. */
export interface SequenceSnapshot extends Disposable {
  readonly length: number;
  dispose(): void;
}

interface StoredSnapshot extends SequenceSnapshot {
  readonly states: readonly Tensor[];
  readonly caches: readonly (CacheSnapshot | undefined)[];
  readonly tables: readonly SlotTablesSnapshot[];
}

const FIRST_SEGMENT_PAGES = 32;

export class SequencePool implements Disposable {
  readonly slots: number;
  readonly maxTokens: number;
  /** The kind's name. */
  readonly kv: string;
  /** One per softmax layer. */
  readonly caches: readonly LayerCache[];
  /** [slots, H, d, d] float32, one per lightning layer. */
  readonly states: readonly Tensor[];
  readonly pageTable: Tensor;
  /** i32 [slots, CONTROL_WORDS]. */
  readonly controls: Tensor;
  /** u32 [slots, ⌈V/32⌉]: token ids that occurred in the slot's sequence. */
  readonly seen: Tensor;

  private readonly kind: CacheKind;
  /** Shared by the layers that pack by the same rule; none for kinds with a place for every position. */
  private readonly tables = new Map<string, SlotTables>();
  private readonly freeSlots: number[];
  private readonly freePages: number[] = [];
  private pageCount = 0;
  private readonly sequences = new Set<Sequence>();

  constructor(
    readonly device: Device,
    readonly spec: StateSpec,
    options: PoolOptions = {},
  ) {
    this.slots = options.slots ?? 4;
    this.kind = cacheKind(options.kv ?? "f32");
    this.kv = this.kind.name;
    this.maxTokens = Math.min(options.maxTokens ?? 2 ** 20, spec.maxPositions);
    const pagesPerSlot = this.kind.pagesPerSlot(this.maxTokens);
    this.pageTable = upload(
      device,
      new Int32Array(this.slots * pagesPerSlot).fill(-1),
      [this.slots, pagesPerSlot],
      "i32",
    );
    this.controls = zeros(device, [this.slots, CONTROL_WORDS], "i32", "controls");
    this.seen = zeros(device, [this.slots, Math.ceil(spec.vocabSize / 32)], "u32", "seen tokens");
    this.caches = Array.from({ length: spec.softmaxLayers }, (_, layer) =>
      this.kind.create(device, {
        ...spec,
        pageTable: this.pageTable,
        maxTokens: this.maxTokens,
        layer,
        layers: spec.softmaxLayers,
        slotTables: (format) => this.slotTables(format, pagesPerSlot),
      }),
    );
    const { lightningHeads: h, lightningHeadDim: d } = spec;
    this.states = Array.from({ length: spec.lightningLayers }, () =>
      zeros(device, [this.slots, h, d, d], "f32", "lightning state"),
    );
    this.freeSlots = Array.from({ length: this.slots }, (_, i) => this.slots - 1 - i);
  }

  get free(): number {
    return this.freeSlots.length;
  }

  /** Bytes of keys, values and states. */
  get bytes(): number {
    const sum = (parts: readonly { bytes?: number; byteLength?: number }[]) =>
      parts.reduce((total, part) => total + (part.bytes ?? part.byteLength ?? 0), 0);
    return sum(this.caches) + sum(this.states) + sum([...this.tables.values()]);
  }

  private slotTables(format: PackedFormat, pagesPerSlot: number): SlotTables {
    const key = slotTablesKey(format);
    let tables = this.tables.get(key);
    if (!tables) {
      tables = new SlotTables(this.device, format, this.slots, pagesPerSlot);
      this.tables.set(key, tables);
    }
    return tables;
  }

  /** @internal */
  get packedTables(): readonly SlotTables[] {
    return [...this.tables.values()];
  }

  /** Token slots of a page. */
  get pageTokens(): number {
    return this.kind.pageTokens;
  }

  /** Number of segments so far: when it changes, a captured step must be captured anew. */
  get generation(): number {
    return this.segments;
  }
  private segments = 0;

  /** Starts an empty sequence. @throws {PoolError} all slots are taken. */
  open(): Sequence {
    const slot = this.freeSlots.pop();
    if (slot === undefined) throw new PoolError(`all ${this.slots} sequences of the pool are in use`);
    for (const state of this.states) clearRow(this.device, state, slot);
    clearRow(this.device, this.seen, slot);
    clearRow(this.device, this.controls, slot);
    for (const table of this.tables.values()) table.open(slot);
    for (const cache of this.caches) cache.open(slot);
    const sequence = new Sequence(this, slot);
    this.sequences.add(sequence);
    return sequence;
  }

  /** @internal Makes pages for positions below `tokens` of the slot. */
  reserve(slot: number, pages: number[], tokens: number): void {
    if (tokens > this.maxTokens) {
      throw new PoolError(`the sequence would reach ${tokens} tokens; its longest length is ${this.maxTokens}`);
    }
    const { pageTokens } = this.kind;
    // One at least, though nothing be packed yet: kernels want a segment to look into.
    const slots = Math.max(1, this.tokenSlots(slot, tokens));
    const wanted = this.spec.softmaxLayers === 0 ? 0 : Math.ceil(slots / pageTokens);
    if (wanted > (this.pageTable.shape[1] ?? 0)) {
      throw new PoolError("the sequence was cut inside packed blocks too often: start it anew");
    }
    const first = pages.length;
    while (pages.length < wanted) {
      if (this.freePages.length === 0) this.grow(wanted - pages.length);
      pages.push(this.freePages.pop() as number); // grow() added at least one
    }
    if (pages.length === first) return;
    this.writePageTable(slot, first, pages.slice(first));
    for (const table of this.tables.values()) table.reserved(slot, pages.length * pageTokens);
  }

  /** Token slots that the first `tokens` tokens of a slot take in pages. */
  private tokenSlots(slot: number, tokens: number): number {
    if (this.tables.size === 0) return tokens;
    return Math.max(...this.packedTables.map((table) => table.tokenSlots(slot, tokens)));
  }

  /** @internal Tokens of the slot that `pages` pages suffice for. */
  capacity(slot: number, pages: number): number {
    if (this.spec.softmaxLayers === 0) return this.maxTokens;
    const room = pages * this.kind.pageTokens;
    if (this.tables.size === 0) return room;
    return Math.min(this.maxTokens, ...this.packedTables.map((table) => table.capacity(slot, room)));
  }

  /** Bits of device memory for each key and value component of the open sequences; undefined without any. */
  get effectiveBits(): number | undefined {
    const { bytes, components } = this.use;
    return components === 0 ? undefined : (8 * bytes) / components;
  }

  /**
   * What the open sequences' caches use: pages with all their parameters, side stores, tables; and how many components of
   * keys and values they hold.
   */
  get use(): { readonly bytes: number; readonly components: number } {
    const { softmaxLayers, kvHeads, headDim } = this.spec;
    let bytes = 0;
    let tokens = 0;
    for (const sequence of this.sequences) {
      if (sequence.length === 0) continue;
      tokens += sequence.length;
      const pages = Math.ceil(this.tokenSlots(sequence.slot, sequence.length) / this.kind.pageTokens);
      for (const cache of this.caches) bytes += cache.slotBytes(pages);
      for (const table of this.tables.values()) bytes += table.bytesOf(sequence.slot, sequence.length);
    }
    return { bytes, components: 2 * softmaxLayers * kvHeads * headDim * tokens };
  }

  /** @internal */
  release(sequence: Sequence, slot: number, pages: readonly number[]): void {
    if (!this.sequences.delete(sequence)) return;
    this.freePages.push(...pages);
    clearRow(this.device, this.controls, slot);
    this.freeSlots.push(slot);
  }

  private writePageTable(slot: number, first: number, pages: readonly number[]): void {
    const perSlot = this.pageTable.shape[1] as number; // [slots, pagesPerSlot]
    const byteOffset = this.pageTable.byteOffset + (slot * perSlot + first) * 4;
    const data = Int32Array.from(pages);
    this.device.write({ allocation: this.pageTable.allocation, byteOffset, byteLength: data.byteLength }, data);
  }

  /** @param wanted Pages that somebody waits for. */
  private grow(wanted: number): void {
    const perPage = this.kind.pageBytes(this.spec);
    const limit = this.device.kind === "webgpu" ? this.device.limits.maxBindingBytes : 2 ** 30;
    const most = Math.max(1, Math.floor(limit / perPage));
    // No more than all slots can need, as long as they do not: the last doubling may be half a cache too large.
    const enough = this.slots * Math.ceil(this.maxTokens / this.kind.pageTokens) - this.pageCount;
    const doubled = Math.max(FIRST_SEGMENT_PAGES, this.pageCount, wanted);
    // Nor is a last segment worth a launch of its own that has a few pages only.
    const whole = enough > 0 && enough <= 1.25 * doubled ? enough : doubled;
    const pages = Math.min(whole, most);
    for (const cache of this.caches) cache.addPages(this.pageCount, pages);
    for (let page = this.pageCount + pages - 1; page >= this.pageCount; page--) this.freePages.push(page);
    this.pageCount += pages;
    this.segments += 1;
  }

  dispose(): void {
    for (const cache of this.caches) cache.dispose();
    for (const table of this.tables.values()) table.dispose();
    for (const tensor of [...this.states, this.pageTable, this.controls, this.seen]) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** A sequence in a pool: a slot, its pages, and how many tokens its caches hold. */
export class Sequence implements Disposable {
  private readonly pages: number[] = [];
  private isClosed = false;
  /** Tokens that the caches and states hold. The one who runs steps keeps it. */
  length = 0;

  /** Use `pool.open()`. */
  constructor(
    readonly pool: SequencePool,
    readonly slot: number,
  ) {}

  get closed(): boolean {
    return this.isClosed;
  }

  /** Tokens that the reserved pages suffice for. */
  get capacity(): number {
    return this.pool.capacity(this.slot, this.pages.length);
  }

  /** Makes room for `tokens` tokens in all. @throws {PoolError} {OutOfMemoryError} */
  reserve(tokens: number): void {
    this.pool.reserve(this.slot, this.pages, tokens);
  }

  /**
   * Cuts the sequence to `length` tokens.
   * @throws {PoolError} the model has lightning layers: their state cannot be cropped; use `snapshot` and `restore`.
   */
  trim(length: number): void {
    if (length >= this.length) return;
    if (this.pool.states.length > 0) {
      throw new PoolError(
        `a lightning state cannot be cut from ${this.length} to ${length} tokens: restore a snapshot`,
      );
    }
    for (const table of this.pool.packedTables) table.trim(this.slot, this.length, length);
    for (const cache of this.pool.caches) cache.trim(this.slot, length);
    this.length = length;
  }

  /** Keeps what is needed to come back to this point. Costs a copy of the lightning states. */
  snapshot(): SequenceSnapshot {
    const { device, states, caches } = this.pool;
    const copies = states.map((state) => {
      const from = rowOf(state, this.slot);
      const copy = empty(device, state.shape.slice(1), "f32", "state snapshot");
      device.copy(from, copy);
      return copy;
    });
    const kept = caches.map((cache) => cache.snapshot(this.slot));
    const dispose = () => {
      for (const copy of copies) copy.dispose();
      for (const part of kept) part?.[Symbol.dispose]();
    };
    const stored: StoredSnapshot = {
      length: this.length,
      states: copies,
      caches: kept,
      tables: this.pool.packedTables.map((table) => table.snapshot(this.slot)),
      dispose,
      [Symbol.dispose]: dispose,
    };
    return stored;
  }

  /** Goes back to a snapshot of this sequence. The snapshot stays usable. */
  restore(snapshot: SequenceSnapshot): void {
    const stored = snapshot as StoredSnapshot; // made by `snapshot` above
    const { device, states, caches } = this.pool;
    for (const [i, state] of states.entries()) {
      const copy = stored.states[i];
      if (copy) device.copy(copy, rowOf(state, this.slot));
    }
    for (const [i, table] of this.pool.packedTables.entries()) {
      const kept = stored.tables[i];
      if (kept) table.restore(this.slot, kept);
    }
    for (const [i, cache] of caches.entries()) cache.restore(this.slot, stored.caches[i]);
    this.length = stored.length;
  }

  /** Gives slot and pages back. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.pool.release(this, this.slot, this.pages);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function rowOf(tensor: Tensor, row: number) {
  const byteLength = tensor.byteLength / (tensor.shape[0] as number); // row-major, first axis: slots
  return { allocation: tensor.allocation, byteOffset: tensor.byteOffset + row * byteLength, byteLength };
}

function clearRow(device: Device, tensor: Tensor, row: number): void {
  device.clear(rowOf(tensor, row));
}
