/**
 * Which tokens of a slot's sequence lie where in packed pages: the host's side of `cuts` and `blocks` (see packed-pages.ts).
 *
 * Layout "channel" packs tokens in blocks of g. A cut inside a packed block freezes it: its codes share parameters and cannot
 * be split, so it keeps them, its count shrinks, its free token slots stay empty, and a new run of blocks begins behind it.
 * Layout "token" needs the floor alone. All layers of a pool that pack by the same rule share one of these.
 */
import type { Device } from "../device/index.js";
import { blockTokens, PACKED_PAGE_TOKENS, type PackedFormat, packedEnd } from "../ops/index.js";
import { empty, type Tensor, zeros } from "../tensor/index.js";
import { PoolError } from "./pool-error.js";

/** Consecutive whole blocks; only the last of a run that a later one follows may be short. */
interface Run {
  /** Index of the first block. */
  readonly block: number;
  /** Its first token. */
  readonly first: number;
  /** Tokens up to the next run; the last run is open. */
  readonly tokens: number;
}

interface SlotState {
  floor: number;
  runs: readonly Run[];
  /** Token slots that the reserved pages hold. */
  room: number;
}

/** A slot's tables at some moment. */
export type SlotTablesSnapshot = Readonly<Pick<SlotState, "floor" | "runs">>;

/** Formats with the same key pack the same tokens at the same time. */
export function slotTablesKey(format: PackedFormat): string {
  return `${format.sinks} ${format.recent} ${blockTokens(format)} ${format.keys.layout}`;
}

export class SlotTables implements Disposable {
  /** i32 [slots, 2]. */
  readonly cuts: Tensor;
  /** i32 [slots, blocksPerSlot, 2]; layout "channel". */
  readonly blocks: Tensor | undefined;
  private readonly block: number;
  private readonly isChannel: boolean;
  private readonly states: SlotState[];

  constructor(
    private readonly device: Device,
    private readonly format: PackedFormat,
    slots: number,
    private readonly pagesPerSlot: number,
  ) {
    this.block = blockTokens(format);
    this.isChannel = format.keys.layout === "channel";
    this.cuts = zeros(device, [slots, 2], "i32", "cuts");
    this.blocks = this.isChannel
      ? empty(device, [slots, (pagesPerSlot * PACKED_PAGE_TOKENS) / this.block, 2], "i32", "blocks")
      : undefined;
    this.states = Array.from({ length: slots }, () => this.fresh());
    for (let slot = 0; slot < slots; slot++) this.open(slot);
  }

  get bytes(): number {
    return this.cuts.byteLength + (this.blocks?.byteLength ?? 0);
  }

  /** Bytes that a sequence of `length` tokens makes use of. */
  bytesOf(slot: number, length: number): number {
    return 8 + (this.isChannel ? 8 * Math.ceil(this.tokenSlots(slot, length) / this.block) : 0);
  }

  private fresh(): SlotState {
    return { floor: 0, runs: [{ block: 0, first: this.format.sinks, tokens: Number.POSITIVE_INFINITY }], room: 0 };
  }

  private state(slot: number): SlotState {
    const state = this.states[slot];
    if (!state) throw new RangeError(`internal: no slot ${slot}`);
    return state;
  }

  /** A new sequence begins. */
  open(slot: number): void {
    this.states[slot] = this.fresh();
    this.writeCut(slot);
  }

  /** Of the slot's first `length` tokens, where the packed ones end. */
  packedEnd(slot: number, length: number): number {
    return packedEnd(this.format, length, this.state(slot).floor);
  }

  /** Token slots of the slot's first `length` tokens. */
  tokenSlots(slot: number, length: number): number {
    const end = this.packedEnd(slot, length);
    return this.isChannel ? (end > this.format.sinks ? end + this.shift(slot) : 0) : end;
  }

  /** Most tokens of which the packed ones fit into `room` token slots. */
  capacity(slot: number, room: number): number {
    const { floor } = this.state(slot);
    const { sinks, recent } = this.format;
    const start = Math.max(sinks, floor);
    const blocks = Math.floor((room - (this.isChannel ? start + this.shift(slot) : start)) / this.block);
    return start + recent + Math.max(0, blocks) * this.block + this.block - 1;
  }

  /** Pages for `room` token slots are there now. */
  reserved(slot: number, room: number): void {
    const state = this.state(slot);
    const before = state.room;
    state.room = room;
    if (room > before) this.writeBlocks(slot, Math.floor(before / this.block));
  }

  /** Cuts the slot's sequence from `from` to `to` tokens. @throws {PoolError} no room for another short block. */
  trim(slot: number, from: number, to: number): void {
    const { sinks } = this.format;
    if (this.packedEnd(slot, from) <= to) return;
    const state = this.state(slot);
    if (to <= sinks) Object.assign(state, { floor: 0, runs: this.fresh().runs });
    else {
      if (this.isChannel) state.runs = this.cutRuns(state.runs, to);
      state.floor = to;
    }
    this.writeCut(slot);
    // The block that was cut, and all behind it.
    this.writeBlocks(slot, Math.max(0, (state.runs.at(-1)?.block ?? 0) - 1));
  }

  private cutRuns(before: readonly Run[], to: number): readonly Run[] {
    const runs = before.filter((run) => run.first < to);
    const last = runs.pop();
    if (!last) return this.fresh().runs;
    const tokens = to - last.first;
    const block = last.block + Math.ceil(tokens / this.block);
    const open: Run = { block, first: to, tokens: Number.POSITIVE_INFINITY };
    if ((block + 1) * this.block > this.pagesPerSlot * PACKED_PAGE_TOKENS) {
      throw new PoolError("the sequence was cut inside packed blocks too often: start it anew");
    }
    return [...runs, { ...last, tokens }, open];
  }

  snapshot(slot: number): SlotTablesSnapshot {
    const { floor, runs } = this.state(slot);
    return { floor, runs };
  }

  restore(slot: number, { floor, runs }: SlotTablesSnapshot): void {
    Object.assign(this.state(slot), { floor, runs });
    this.writeCut(slot);
    this.writeBlocks(slot, 0);
  }

  /** The blocks with tokens before `end`, as (first token, count). */
  blocksBefore(slot: number, end: number): { readonly first: number; readonly count: number }[] {
    const found: { first: number; count: number }[] = [];
    for (const run of this.state(slot).runs) {
      for (let at = 0; at < run.tokens && run.first + at < end; at += this.block) {
        found.push({ first: run.first + at, count: Math.min(this.block, run.tokens - at) });
      }
    }
    return found;
  }

  /** Of the last run: from a token to its token slot. */
  private shift(slot: number): number {
    const run = this.state(slot).runs.at(-1);
    return run ? run.block * this.block - run.first : 0;
  }

  private writeCut(slot: number): void {
    const { cuts, device } = this;
    const shift = this.isChannel ? this.shift(slot) : 0;
    const to = { allocation: cuts.allocation, byteOffset: cuts.byteOffset + slot * 8, byteLength: 8 };
    device.write(to, Int32Array.of(this.state(slot).floor, shift));
  }

  /** Writes the slot's entries from block `from` to the last that a page holds. */
  private writeBlocks(slot: number, from: number): void {
    const { blocks, block, device } = this;
    if (!blocks) return;
    const { runs, room } = this.state(slot);
    const end = Math.floor(room / block);
    if (end <= from) return;
    const data = new Int32Array(2 * (end - from));
    let r = runs.length - 1;
    for (let m = end - 1; m >= from; m--) {
      while (r > 0 && m < (runs[r] as Run).block) r -= 1; // r stays inside
      const run = runs[r] as Run;
      const at = (m - run.block) * block;
      data.set([run.first + at, Math.max(0, Math.min(block, run.tokens - at))], 2 * (m - from));
    }
    const perSlot = blocks.shape[1] as number; // [slots, blocksPerSlot, 2]
    const byteOffset = blocks.byteOffset + (slot * perSlot + from) * 8;
    device.write({ allocation: blocks.allocation, byteOffset, byteLength: data.byteLength }, data);
  }

  dispose(): void {
    this.cuts.dispose();
    this.blocks?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
