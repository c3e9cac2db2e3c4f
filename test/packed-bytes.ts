/** Packed caches with random codes for tests of what reads them. What nothing may read is NaN. */
import type { Device } from "../src/device/index.js";
import { halfBits } from "../src/ops/matmul/weights/f16.js";
import { type PackedStoreBytes, visibleTokens } from "../src/ops/packed-attention/packed-attention.reference.js";
import {
  hasParams,
  PACKED_PAGE_TOKENS,
  type PackedFormat,
  packedEnd,
  pageSections,
  ringTokens,
  type SideFormat,
} from "../src/ops/packed-kv/format.js";
import type { PackedPages } from "../src/ops/packed-kv/packed-pages.js";
import { upload } from "../src/tensor/index.js";
import { type BatchRow, random } from "./kv-batch.js";

export interface PackedShape {
  readonly format: PackedFormat;
  readonly rows: readonly BatchRow[];
  /** Pages of each segment; default one segment that suffices. */
  readonly segments?: readonly number[];
  /** Layout "channel": tokens that cuts left of each slot's first blocks, in their order. */
  readonly frozen?: readonly number[];
  /** Where a cut left the packed tokens' end, for each slot; layout "channel" takes the frozen blocks' end. */
  readonly floor?: number;
  /** Tokens that each slot keeps in 16 bits; the store is skipped there. */
  readonly marked?: readonly number[];
  /** Further tokens of each slot that this store does not hold. */
  readonly skipped?: readonly number[];
  /** A further store of mixed widths: no side entries. */
  readonly isSecond?: boolean;
  readonly seed: number;
}

export function packedBytes(shape: PackedShape): PackedStoreBytes & { readonly segments: readonly number[] } {
  const { format, rows, frozen = [], isSecond = false } = shape;
  const { kvHeads, headDim, keys, values, sinks } = format;
  const slots = 1 + Math.max(0, ...rows.map((row) => row.slot));
  const lengths = Array.from({ length: slots }, (_, slot) => {
    const row = rows.find((r) => r.slot === slot);
    return row ? row.past + row.count : 1;
  });
  const next = random(shape.seed);
  const pick = (n: number) => Math.min(n - 1, Math.floor(((next() + 1) / 2) * n));
  const g = keys.group;
  const frozenEnd = frozen.reduce((sum, count) => sum + count, frozen.length > 0 ? sinks : 0);
  const floor = keys.layout === "channel" ? frozenEnd : (shape.floor ?? 0);
  const shift = frozen.length > 0 ? g * frozen.length - frozenEnd : -sinks;
  const cuts = Int32Array.from({ length: 2 * slots }, (_, i) => (i % 2 === 0 ? floor : shift));
  const counts = lengths.map((length) => {
    const end = packedEnd(format, length, floor) + (keys.layout === "channel" ? shift : 0);
    return Math.max(0, Math.ceil(end / PACKED_PAGE_TOKENS));
  });
  const pagesPerSlot = Math.max(...counts) + 1;
  const total = counts.reduce((sum, count) => sum + count, 0);
  const segments = shape.segments ?? [total + 1];
  const order = Array.from({ length: segments.reduce((sum, pages) => sum + pages, 0) }, (_, i) => i);
  for (let i = order.length - 1; i > 0; i -= 1) {
    const j = pick(i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  const pageTable = new Int32Array(slots * pagesPerSlot).fill(-1);
  counts.forEach((count, slot) => {
    for (let i = 0; i < count; i += 1) pageTable[slot * pagesPerSlot + i] = order.pop()!;
  });
  const pages = segments.reduce((sum, n) => sum + n, 0);
  const blocksPerSlot = Math.ceil((pagesPerSlot * PACKED_PAGE_TOKENS) / g);
  const blocks = Array.from({ length: slots * blocksPerSlot }, (_, i) => {
    const m = i % blocksPerSlot;
    const before = frozen.slice(0, m).reduce((sum, count) => sum + count, sinks);
    return m < frozen.length ? [before, frozen[m]!] : [m * g - shift, g];
  }).flat();
  const skipWords = Math.ceil(Math.max(...lengths) / 32);
  const skips = new Uint32Array(slots * skipWords);
  for (const token of [...(shape.marked ?? []), ...(shape.skipped ?? [])]) {
    for (let slot = 0; slot < slots; slot += 1) {
      if (token < 32 * skipWords) skips[slot * skipWords + (token >> 5)]! |= 1 << (token & 31);
    }
  }
  const entries = sinks + ringTokens(format) + format.marked;
  const hasSkips = shape.marked !== undefined || shape.skipped !== undefined;
  const keyWords = new Uint32Array(pages * pageSections(keys, kvHeads, headDim).words);
  const valueWords = new Uint32Array(pages * pageSections(values, kvHeads, headDim).words);
  const store = {
    ...{ format, keys: keyWords, values: valueWords, pageTable, pagesPerSlot, cuts, segments },
    side: isSecond || entries === 0 ? undefined : new Uint32Array(slots * entries * kvHeads * headDim).fill(0x7e007e00),
    ...(keys.layout === "channel" ? { blocks: Int32Array.from(blocks), blocksPerSlot } : {}),
    ...(format.marked > 0 && !isSecond
      ? {
          markedTokens: Int32Array.from(
            { length: slots * format.marked },
            (_, i) => shape.marked?.[i % format.marked] ?? -1,
          ),
        }
      : {}),
    ...(hasSkips ? { skips, skipWords } : {}),
    ...(format.ordered ? { order: shuffled(kvHeads * headDim, shape.seed + 7) } : {}),
    ...(format.meanPairs > 0
      ? {
          pairs: Int32Array.from(
            Array.from({ length: kvHeads }, (_, head) => [
              ...shuffled(headDim / 2, shape.seed + head).subarray(0, format.meanPairs),
            ]).flat(),
          ),
        }
      : {}),
  };
  for (const { slot, past, count } of rows) {
    if (slot < 0) continue;
    for (let i = 0; i < count; i += 1) {
      for (const seen of visibleTokens(store, !isSecond, slot, past, past + i)) {
        if (seen.from === "packed") {
          const page = pageTable[slot * pagesPerSlot + Math.floor(seen.index / PACKED_PAGE_TOKENS)]!;
          fillPage(keys, keyWords, page, seen.index % PACKED_PAGE_TOKENS);
          fillPage(values, valueWords, page, seen.index % PACKED_PAGE_TOKENS);
        } else if (seen.from === "side") {
          const size = kvHeads * headDim;
          const at = (slot * entries + seen.index) * size;
          for (let w = at; w < at + size; w += 1) {
            store.side![w] = (halfBits(next()) | (halfBits(next()) << 16)) >>> 0;
          }
        }
      }
    }
  }
  poison(keys, keyWords);
  poison(values, valueWords);
  return store;

  function fillPage(side: SideFormat, all: Uint32Array, page: number, at: number): void {
    const sections = pageSections(side, kvHeads, headDim);
    const words = all.subarray(page * sections.words, (page + 1) * sections.words);
    for (let head = 0; head < kvHeads; head += 1) {
      const row = (head * PACKED_PAGE_TOKENS + at) * sections.rowWords;
      if (words[row] !== 0) continue; // seen by an earlier token of the step
      for (let w = 0; w < sections.rowWords; w += 1) words[row + w] = (next() * 2 ** 31) >>> 0 || 1;
      if (hasParams(side)) {
        const [first, count] =
          side.layout === "token"
            ? [(head * PACKED_PAGE_TOKENS + at) * (headDim / side.group), headDim / side.group]
            : [(head * (PACKED_PAGE_TOKENS / side.group) + Math.floor(at / side.group)) * headDim, headDim];
        for (let i = sections.params + first; i < sections.params + first + count; i += 1) {
          const steps = 2 ** side.bits - 1;
          words[i] ||= (halfBits((2.5 + next()) / steps) | (halfBits(-1 + next() / 2) << 16)) >>> 0;
        }
      }
      const scales = ((sections.words - sections.scales) * 2) / (kvHeads * PACKED_PAGE_TOKENS);
      for (let j = 0; j < scales; j += 1) {
        const i = (head * PACKED_PAGE_TOKENS + at) * scales + j;
        words[sections.scales + (i >> 1)]! |= halfBits(1 + next() / 2) << (16 * (i % 2));
      }
    }
  }

  /** Parameters that nothing has filled. */
  function poison(side: SideFormat, all: Uint32Array): void {
    const sections = pageSections(side, kvHeads, headDim);
    for (let i = 0; i < all.length; i += 1) {
      if (i % sections.words < sections.params) continue;
      if ((all[i]! & 0xffff) === 0) all[i]! |= 0x7e00;
      if (all[i]! >>> 16 === 0) all[i]! |= 0x7e000000;
    }
  }
}

export function uploadPacked(device: Device, bytes: ReturnType<typeof packedBytes>): PackedPages {
  const { format, pagesPerSlot, blocksPerSlot = 0, skipWords = 0 } = bytes;
  const { kvHeads, headDim, sinks, marked, meanPairs } = format;
  const slots = bytes.pageTable.length / pagesPerSlot;
  let firstPage = 0;
  const segments = bytes.segments.map((pages) => {
    const part = (side: SideFormat, data: Uint32Array) => {
      const { words } = pageSections(side, kvHeads, headDim);
      return upload(device, data.slice(firstPage * words, (firstPage + pages) * words), [pages, words], "u32");
    };
    const segment = {
      keys: part(format.keys, bytes.keys),
      values: part(format.values, bytes.values),
      firstPage,
      pages,
    };
    firstPage += pages;
    return segment;
  });
  const optional = (data: Int32Array | Uint32Array | undefined, shape: number[]) =>
    data && upload(device, data, shape, data instanceof Int32Array ? "i32" : "u32");
  return {
    ...{ format, segments },
    pageTable: upload(device, bytes.pageTable, [slots, pagesPerSlot], "i32"),
    side: optional(bytes.side, [slots, sinks + ringTokens(format) + marked, kvHeads * headDim]),
    cuts: upload(device, bytes.cuts, [slots, 2], "i32"),
    blocks: optional(bytes.blocks, [slots, blocksPerSlot, 2]),
    markedTokens: optional(bytes.markedTokens, [slots, marked]),
    skips: optional(bytes.skips, [slots, skipWords]),
    order: optional(bytes.order, [kvHeads * headDim]),
    mean: undefined,
    pairs: optional(bytes.pairs, [kvHeads, meanPairs]),
  };
}

function shuffled(length: number, seed: number): Int32Array {
  const next = random(seed);
  const keys = Array.from({ length }, (_, i) => ({ i, key: next() }));
  return Int32Array.from(keys.sort((a, b) => a.key - b.key).map(({ i }) => i));
}
