/** Packed stores on a device and beside it, for tests of the operations that read and write them. */
import type { Device } from "../src/device/index.js";
import {
  blockTokens,
  PACKED_PAGE_TOKENS,
  type PackedFormat,
  pageSections,
  ringTokens,
  type SideFormat,
} from "../src/ops/packed-kv/format.js";
import type { PackedStoreState } from "../src/ops/packed-kv/pack.reference.js";
import type { PackedPages } from "../src/ops/packed-kv/packed-pages.js";
import { emptyPage, keyPage, valuePage } from "../src/ops/packed-kv/page-image.reference.js";
import { upload } from "../src/tensor/index.js";
import { random } from "./kv-batch.js";

/** A format by what differs from plain 2-bit groups of 16 channels. */
export function packedFormat(
  o: Partial<Omit<PackedFormat, "keys" | "values">> & {
    readonly keys?: Partial<SideFormat>;
    readonly values?: Partial<SideFormat>;
  },
): PackedFormat {
  const side = { bits: 2, layout: "token", group: 16, quantiser: "min", clip: 1, norm: false } as const;
  const plain = { kvHeads: 2, headDim: 32, ropeAtRead: false, keyRotation: 0, valueRotation: 0, ordered: false };
  const kept = { meanPairs: 0, sinks: 0, recent: 0, marked: 0, strictPrefill: false };
  return { ...plain, ...kept, ...o, keys: { ...side, ...o.keys }, values: { ...side, ...o.values } };
}

export interface StoreShape {
  readonly slots: number;
  /** Tokens that each slot has pages for. */
  readonly tokens: number;
  /** Pages of each segment. */
  readonly segments: readonly number[];
  readonly seed: number;
  readonly mean?: Float32Array;
  readonly order?: Int32Array;
  readonly markedTokens?: Int32Array;
}

/** An empty store: the pages of all slots in shuffled order. */
export function emptyStore(format: PackedFormat, shape: StoreShape): PackedStoreState {
  const { slots, tokens, segments, seed } = shape;
  const total = segments.reduce((sum, pages) => sum + pages, 0);
  const perSlot = Math.ceil(tokens / PACKED_PAGE_TOKENS);
  const pagesPerSlot = perSlot + 1;
  const order = Array.from({ length: total }, (_, i) => i);
  const next = random(seed);
  for (let i = total - 1; i > 0; i -= 1) {
    const j = Math.floor(((next() + 1) / 2) * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  const pageTable = new Int32Array(slots * pagesPerSlot).fill(-1);
  for (let slot = 0; slot < slots; slot += 1) {
    for (let i = 0; i < perSlot; i += 1) {
      const page = order.pop();
      if (page === undefined) throw new RangeError("test: the segments have too few pages");
      pageTable[slot * pagesPerSlot + i] = page;
    }
  }
  const entries = format.sinks + ringTokens(format) + format.marked;
  const { mean, order: channels, markedTokens } = shape;
  return {
    format,
    keys: Array.from({ length: total }, () => emptyPage(keyPage(format))),
    values: Array.from({ length: total }, () => emptyPage(valuePage(format))),
    pageTable,
    pagesPerSlot,
    side: new Uint16Array(slots * entries * 2 * format.kvHeads * format.headDim),
    cuts: Int32Array.from({ length: 2 * slots }, (_, i) => (i % 2 === 1 ? -format.sinks : 0)),
    ...(mean ? { mean } : {}),
    ...(channels ? { order: channels } : {}),
    ...(markedTokens ? { markedTokens } : {}),
  };
}

/** First token and count of every block of a slot that was never cut. */
export function uncutBlocks(format: PackedFormat, slots: number, tokens: number): Int32Array {
  const block = blockTokens(format);
  const perSlot = Math.ceil(tokens / block);
  return Int32Array.from({ length: slots * perSlot * 2 }, (_, i) =>
    i % 2 === 1 ? block : format.sinks + (Math.floor(i / 2) % perSlot) * block,
  );
}

/** The store's contents on a device. */
export function uploadStore(device: Device, state: PackedStoreState, shape: StoreShape): PackedPages {
  const { format, cuts, pageTable, pagesPerSlot, side, markedTokens, mean, order } = state;
  const { kvHeads, headDim } = format;
  const { slots } = shape;
  const channels = kvHeads * headDim;
  const entries = format.sinks + ringTokens(format) + format.marked;
  let firstPage = 0;
  const segments = shape.segments.map((pages) => {
    const part = (all: readonly Uint32Array[], words: number) => {
      const data = new Uint32Array(pages * words);
      for (let i = 0; i < pages; i += 1) data.set(all[firstPage + i]!, i * words);
      return upload(device, data, [pages, words], "u32");
    };
    const segment = {
      keys: part(state.keys, pageSections(format.keys, kvHeads, headDim).words),
      values: part(state.values, pageSections(format.values, kvHeads, headDim).words),
      firstPage,
      pages,
    };
    firstPage += pages;
    return segment;
  });
  const blocks = format.keys.layout === "channel" ? uncutBlocks(format, slots, shape.tokens) : undefined;
  return {
    format,
    segments,
    pageTable: upload(device, pageTable, [slots, pagesPerSlot], "i32"),
    side: entries > 0 ? upload(device, wordsOf(side), [slots, entries, channels], "u32") : undefined,
    cuts: upload(device, cuts, [slots, 2], "i32"),
    blocks: blocks && upload(device, blocks, [slots, blocks.length / 2 / slots, 2], "i32"),
    markedTokens: markedTokens && upload(device, markedTokens, [slots, format.marked], "i32"),
    skips:
      format.marked > 0
        ? upload(
            device,
            new Uint32Array(slots * Math.ceil(shape.tokens / 32)),
            [slots, Math.ceil(shape.tokens / 32)],
            "u32",
          )
        : undefined,
    order: order && upload(device, order, [channels], "i32"),
    mean: mean && upload(device, mean, [kvHeads, headDim]),
    pairs:
      format.meanPairs > 0
        ? upload(
            device,
            Int32Array.from({ length: kvHeads * format.meanPairs }, (_, i) => i % format.meanPairs),
            [kvHeads, format.meanPairs],
            "i32",
          )
        : undefined,
  };
}

function wordsOf(halves: Uint16Array): Uint32Array {
  return new Uint32Array(halves.buffer, halves.byteOffset, halves.length / 2);
}

/** What a device's store holds. */
export async function readStore(
  pages: PackedPages,
): Promise<{ keys: Uint32Array[]; values: Uint32Array[]; side: Uint16Array }> {
  const [keys, values]: [Uint32Array[], Uint32Array[]] = [[], []];
  for (const segment of pages.segments) {
    for (const [tensor, list] of [
      [segment.keys, keys],
      [segment.values, values],
    ] as const) {
      const words = (await tensor.read()) as Uint32Array;
      const size = tensor.shape[1]!;
      for (let i = 0; i < segment.pages; i += 1) list.push(words.slice(i * size, (i + 1) * size));
    }
  }
  const words = pages.side ? ((await pages.side.read()) as Uint32Array) : new Uint32Array(0);
  return { keys, values, side: new Uint16Array(words.buffer, words.byteOffset, words.length * 2) };
}
