/** CPU kernels of attention over packed pages: every format, both builds, one thread and two, and replayed decode steps. */
import { afterAll, describe, expect, test } from "vitest";
import { type BatchRow, makeStep, random, randomArray, stepWords } from "../../../test/kv-batch.js";
import { expectNear } from "../../../test/near.js";
import { CpuDevice } from "../../device/index.js";
import { empty, type Tensor, upload } from "../../tensor/index.js";
import { halfBits } from "../matmul/weights/f16.js";
import { blockTokens, type PackedFormat, pageSections, ringTokens, type SideFormat } from "../packed-kv/format.js";
import type { PackedPages } from "../packed-kv/packed-pages.js";
import { ropeFrequencies, ropeTable } from "../rope/rope.js";
import { packedAttention } from "./packed-attention.js";
import { type PackedStoreBytes, packedAttentionReference } from "./packed-attention.reference.js";

const byToken = (bits: SideFormat["bits"], group: number, quantiser: "min" | "zp" = "min"): SideFormat => ({
  ...{ bits, group, quantiser, layout: "token", clip: 1, norm: false },
});
const byChannel = (bits: SideFormat["bits"], group: number, norm = false): SideFormat => ({
  ...{ bits, group, norm, layout: "channel", quantiser: "min", clip: 1 },
});
const even = (bits: 2 | 3, group: number): SideFormat => ({
  ...{ bits, group, quantiser: "even", layout: "token", clip: 1, norm: false },
});
const levels = (bits: 2 | 3, headDim: number): SideFormat => ({
  ...{ bits, group: headDim, quantiser: "levels", layout: "token", clip: 1, norm: false },
});

interface Case {
  readonly name: string;
  readonly heads?: number;
  readonly format: Partial<PackedFormat>;
  readonly window?: number;
  /** Of slot 0 … 2: floor and shift; blocks before those that follow the cut. */
  readonly cuts?: readonly (readonly [number, number])[];
  readonly blocks?: readonly (readonly (readonly [number, number])[])[];
  readonly marked?: readonly (readonly number[])[];
}

const marked = [
  [5, 60, 130, 126],
  [3, -1, 1, -1],
  [90, 7, -1, 139],
];
const cases: readonly Case[] = [
  { name: "2 bits, g = 32", format: {} },
  { name: "2 bits, g = 32, window", format: {}, window: 50 },
  { name: "2 bits, g = 16, three heads on one", heads: 6, format: { keys: byToken(2, 16), values: byToken(2, 16) } },
  { name: "2 bits, D = 128", format: { headDim: 128, keys: byToken(2, 128), values: byToken(2, 32) } },
  { name: "D = 96, g = 48", format: { headDim: 96, keys: byToken(2, 48), values: byToken(4, 48) } },
  { name: "3 bits, D = 80", format: { headDim: 80, keys: byToken(3, 16), values: byToken(3, 80), valueRotation: 16 } },
  { name: "4 bits", format: { keys: byToken(4, 32), values: byToken(4, 64), sinks: 3, recent: 5, valueRotation: 64 } },
  { name: "4 bits, D = 4", format: { headDim: 4, keys: byToken(4, 4), values: byToken(4, 4), sinks: 3, recent: 40 } },
  {
    name: "8 bits, one head",
    heads: 1,
    format: { kvHeads: 1, keys: byToken(8, 32), values: byToken(8, 64), sinks: 3 },
  },
  { name: "8 and 2 bits, D = 12", format: { headDim: 12, keys: byToken(8, 12), values: byToken(2, 12), recent: 9 } },
  { name: "D = 256", format: { headDim: 256, keys: byToken(2, 128), values: byToken(4, 32), recent: 40 } },
  {
    name: "4 levels, mean",
    format: { keys: levels(2, 64), values: levels(2, 64), sinks: 4, recent: 16, meanPairs: 7 },
  },
  {
    name: "even steps, g = 32, mean",
    format: { keys: even(2, 32), values: even(2, 64), sinks: 4, recent: 16, meanPairs: 7, valueRotation: 64 },
  },
  {
    name: "even steps, D = 80",
    format: { headDim: 80, keys: even(3, 16), values: even(2, 80), recent: 1, strictPrefill: true },
  },
  { name: "even steps, g = 48", format: { headDim: 96, keys: even(2, 48), values: even(3, 32), sinks: 1 } },
  { name: "8 levels", format: { keys: levels(3, 64), values: levels(3, 64), sinks: 4, recent: 16, valueRotation: 64 } },
  { name: "8 levels, D = 80", format: { headDim: 80, keys: levels(3, 80), values: levels(2, 80), recent: 1 } },
  { name: "channels, norm", format: { keys: byChannel(2, 32, true), sinks: 4, recent: 20, valueRotation: 64 } },
  { name: "channels, window", format: { keys: byChannel(2, 32, true), sinks: 4, recent: 20 }, window: 70 },
  { name: "channels, 3 bits, g = 128", format: { keys: byChannel(3, 128, true), values: byToken(2, 64), sinks: 4 } },
  {
    name: "channels, D = 24, mean",
    format: { headDim: 24, keys: byChannel(2, 16), values: byToken(4, 24), sinks: 5, recent: 3, meanPairs: 5 },
  },
  {
    name: "channels, 8 bits, D = 80",
    format: { headDim: 80, keys: byChannel(8, 32), values: byToken(2, 16), sinks: 1 },
  },
  {
    name: "channels behind cuts",
    format: { keys: byChannel(2, 32, true), sinks: 4, recent: 20, meanPairs: 3 },
    cuts: [
      [50, 14],
      [0, -4],
      [110, 50],
    ],
    blocks: [
      [
        [4, 32],
        [36, 14],
      ],
      [],
      [
        [4, 32],
        [36, 32],
        [68, 20],
        [88, 12],
        [100, 10],
      ],
    ],
  },
  { name: "marked tokens", format: { sinks: 2, recent: 10, marked: 4 }, marked },
  { name: "marked tokens, strict", format: { sinks: 2, marked: 4, strictPrefill: true }, marked },
  { name: "strict with newest tokens", format: { sinks: 2, recent: 9, strictPrefill: true } },
  { name: "strict by channels", format: { keys: byChannel(2, 16), sinks: 2, recent: 9, strictPrefill: true } },
  {
    name: "rotary at read",
    format: {
      ...{ keys: byToken(2, 64, "zp"), ropeAtRead: true, keyRotation: 128, valueRotation: 64, ordered: true },
      ...{ sinks: 2, marked: 4, strictPrefill: true },
    },
    marked,
  },
  {
    name: "rotary at read, 3 bits, D = 24, part of it",
    format: { headDim: 24, keys: byToken(3, 24), values: byToken(3, 24), ropeAtRead: true, keyRotation: 16, sinks: 2 },
    heads: 2,
  },
];

const plain: PackedFormat = {
  ...{ kvHeads: 2, headDim: 64, keys: byToken(2, 32), values: byToken(2, 32) },
  ...{ ropeAtRead: false, keyRotation: 0, valueRotation: 0, ordered: false, meanPairs: 0 },
  ...{ sinks: 0, recent: 0, marked: 0, strictPrefill: false },
};

const SLOTS = 3;
const PAGES_PER_SLOT = 3;
const MAX_TOKENS = 256;

/** Pages of random codes and parameters in three segments, shuffled, and all that belongs to them. */
function storeBytes(c: Case): PackedStoreBytes {
  const format = { ...plain, ...c.format };
  const { kvHeads, headDim, sinks } = format;
  const next = random(7);
  const pages = SLOTS * PAGES_PER_SLOT;
  const fill = (side: SideFormat) => {
    const at = pageSections(side, kvHeads, headDim);
    const word = (i: number) => {
      if (i < at.params) return ((next() + 1) * 2 ** 31) >>> 0;
      const scale = halfBits((0.3 * (1.2 + next())) / 2 ** (side.bits - 2));
      if (i < at.scales) return (scale | (halfBits(next() - 0.6) << 16)) >>> 0;
      return (halfBits(0.5 + 0.4 * next()) | (halfBits(0.5 + 0.4 * next()) << 16)) >>> 0;
    };
    return Uint32Array.from({ length: pages * at.words }, (_, i) => word(i % at.words));
  };
  const shuffled = (length: number) => {
    const order = Int32Array.from({ length }, (_, i) => i);
    for (let i = length - 1; i > 0; i -= 1) {
      const j = Math.floor(((next() + 1) / 2) * (i + 1));
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  };
  const width = kvHeads * headDim;
  const entries = sinks + ringTokens(format) + format.marked;
  const half = () => halfBits(next());
  const block = blockTokens(format);
  const blocksPerSlot = MAX_TOKENS / block;
  const blockOf = (slot: number, m: number) => {
    const before = c.blocks?.[slot] ?? [];
    return before[m] ?? [Math.max(sinks, c.cuts?.[slot]?.[0] ?? 0) + (m - before.length) * block, block];
  };
  const skipWords = MAX_TOKENS / 32;
  const skips = new Uint32Array(SLOTS * skipWords);
  c.marked?.forEach((tokens, slot) => {
    for (const j of tokens) if (j >= 0) skips[slot * skipWords + (j >> 5)]! |= 2 ** (j % 32);
  });
  return {
    ...{ format, blocksPerSlot, skipWords, pagesPerSlot: PAGES_PER_SLOT },
    ...{ keys: fill(format.keys), values: fill(format.values), pageTable: shuffled(pages) },
    side:
      entries > 0
        ? Uint32Array.from({ length: SLOTS * entries * width }, () => (half() | (half() << 16)) >>> 0)
        : undefined,
    cuts: Int32Array.from({ length: 2 * SLOTS }, (_, i) => (c.cuts?.[i >> 1] ?? [0, -sinks])[i & 1]!),
    blocks:
      format.keys.layout === "channel"
        ? Int32Array.from({ length: SLOTS * blocksPerSlot * 2 }, (_, i) => {
            const m = i >> 1;
            return blockOf(Math.floor(m / blocksPerSlot), m % blocksPerSlot)[i & 1]!;
          })
        : undefined,
    markedTokens: c.marked && Int32Array.from(c.marked.flat()),
    skips: c.marked && skips,
    order: format.ordered ? shuffled(width) : undefined,
    pairs:
      format.meanPairs > 0
        ? Int32Array.from({ length: kvHeads * format.meanPairs }, (_, i) => (3 * i + 1) % (headDim / 2))
        : undefined,
  };
}

function uploadPages(device: CpuDevice, bytes: PackedStoreBytes): PackedPages {
  const { format, pagesPerSlot, blocksPerSlot = 0, skipWords = 0 } = bytes;
  const { kvHeads, headDim, sinks, marked: most, meanPairs } = format;
  const keyWords = pageSections(format.keys, kvHeads, headDim).words;
  const valueWords = pageSections(format.values, kvHeads, headDim).words;
  let firstPage = 0;
  const segments = [2, 4, 3].map((pages) => {
    const part = (words: Uint32Array, size: number) =>
      upload(device, words.slice(firstPage * size, (firstPage + pages) * size), [pages, size], "u32");
    const segment = { keys: part(bytes.keys, keyWords), values: part(bytes.values, valueWords), firstPage, pages };
    firstPage += pages;
    return segment;
  });
  const i32 = (data: Int32Array | undefined, shape: number[]): Tensor | undefined =>
    data && upload(device, data, shape, "i32");
  const u32 = (data: Uint32Array | undefined, shape: number[]): Tensor | undefined =>
    data && upload(device, data, shape, "u32");
  return {
    ...{ format, segments, mean: undefined },
    pageTable: upload(device, bytes.pageTable, [SLOTS, pagesPerSlot], "i32"),
    side: u32(bytes.side, [SLOTS, sinks + ringTokens(format) + most, kvHeads * headDim]),
    cuts: upload(device, bytes.cuts, [SLOTS, 2], "i32"),
    blocks: i32(bytes.blocks, [SLOTS, blocksPerSlot, 2]),
    markedTokens: i32(bytes.markedTokens, [SLOTS, most]),
    skips: u32(bytes.skips, [SLOTS, skipWords]),
    order: i32(bytes.order, [kvHeads * headDim]),
    pairs: i32(bytes.pairs, [kvHeads, meanPairs]),
  };
}

const rowsOf = {
  decode: [
    { slot: 1, past: 0, count: 1 },
    { slot: 0, past: 139, count: 1 },
    { slot: -1, past: 4, count: 1 },
    { slot: 2, past: 128, count: 1 },
  ],
  prefill: [
    { slot: 2, past: 125, count: 9 },
    { slot: -1, past: 2, count: 2 },
    { slot: 1, past: 0, count: 3 },
    { slot: 0, past: 120, count: 6 },
  ],
} as const satisfies Record<string, readonly BatchRow[]>;

/** More tokens than a tile has. */
const longRow: BatchRow = { slot: 0, past: 100, count: 34 };

/** A sequence is at least as long as it was where it was cut. */
const notBefore = (rows: readonly BatchRow[], c: Case): BatchRow[] =>
  rows.map((row) => ({ ...row, past: Math.max(row.past, c.cuts?.[row.slot]?.[0] ?? 0) }));

function inputs(c: Case, rows: readonly BatchRow[]) {
  const { kvHeads, headDim, meanPairs, ropeAtRead } = { ...plain, ...c.format };
  const heads = c.heads ?? 2 * kvHeads;
  const tokens = rows.reduce((sum, row) => sum + row.count, 0);
  const shape = [tokens, (heads + 2 * kvHeads) * headDim];
  const rotary = { rotaryDim: ropeAtRead && headDim === 24 ? 20 : headDim, theta: 10_000 };
  const scaling = { type: "yarn", factor: 4, originalMaxPositions: 64 } as const;
  return {
    ...{ heads, shape, qkv: randomArray(shape[0]! * shape[1]!, 5, 1.5) },
    meanTerms: randomArray(tokens * heads * meanPairs * 2, 9),
    // An attention factor that is not 1 must be counted once.
    rotary: meanPairs > 0 ? { ...rotary, scaling } : rotary,
    options: { heads, scale: 1 / Math.sqrt(headDim), ...(c.window !== undefined && { window: c.window }) },
  };
}

function run(device: CpuDevice, c: Case, bytes: PackedStoreBytes, rows: readonly BatchRow[], isDecode: boolean) {
  const { shape, qkv, meanTerms, rotary, options } = inputs(c, rows);
  const { meanPairs } = bytes.format;
  const step = makeStep(device, rows, { isDecode, ...(isDecode && { lengthBound: 5000 }) });
  const terms = meanPairs > 0 ? upload(device, meanTerms, [shape[0]!, options.heads, meanPairs, 2]) : undefined;
  const prepared = { keyRows: undefined, meanTerms: terms, dispose() {}, [Symbol.dispose]() {} };
  const rope = ropeTable(device, { ...rotary, maxPositions: 2048 });
  return packedAttention(
    upload(device, qkv, shape),
    prepared,
    [uploadPages(device, bytes)],
    { ...options, rope },
    step,
  ).readFloat32();
}

function reference(c: Case, stores: readonly PackedStoreBytes[], rows: readonly BatchRow[]): Float64Array {
  const { qkv, meanTerms, rotary, options } = inputs(c, rows);
  return packedAttentionReference({ ...options, qkv, meanTerms, rope: ropeFrequencies(rotary), stores, rows });
}

const opened = await Promise.all([
  CpuDevice.open({ threads: 2, relaxedSimd: false }),
  CpuDevice.open({ threads: 1, relaxedSimd: false }),
  CpuDevice.open({ threads: 2, relaxedSimd: true }),
]);
const [two, one, relaxed] = opened;
afterAll(async () => {
  for (const device of opened) await device.close();
});

describe("packed attention on the CPU", () => {
  for (const kind of ["decode", "prefill"] as const) {
    test.each(cases)(`${kind}: $name`, async (c) => {
      const rows = notBefore(rowsOf[kind], c);
      const bytes = storeBytes(c);
      const expected = reference(c, [bytes], rows);
      const results: Float32Array[] = [];
      for (const device of [two, one, relaxed]) {
        const live = device.memory.live;
        await device.scope(async () => {
          results.push(await run(device, c, bytes, rows, kind === "decode"));
        });
        expect(device.memory.live).toBe(live);
      }
      // √(some hundred products and keys) · 2⁻²⁴ of each score and sum.
      for (const result of results) expectNear(result, expected, { relativeRms: 2e-6 });
      expect(results[1]).toEqual(results[0]);
    });
  }

  test.each(cases.filter(({ name }) => name === "4 bits" || name === "strict by channels"))(
    "prefill of two tiles: $name",
    async (c) => {
      const bytes = storeBytes(c);
      await two.scope(async () => {
        const result = await run(two, c, bytes, [longRow], false);
        expectNear(result, reference(c, [bytes], [longRow]), { relativeRms: 2e-6 });
      });
    },
  );

  test("two stores over the same tokens, each skipping the other's", async () => {
    const odd = [
      [1, 3, 5, 63],
      [7, 9, 11, 13],
      [65, 67, 127, 129],
    ];
    const even = [
      [0, 2, 4, 62],
      [8, 10, 12, 14],
      [66, 68, 128, 130],
    ];
    const first = storeBytes({ name: "", format: { recent: 8, marked: 4 }, marked: odd });
    const second = storeBytes({
      ...{ name: "", format: { keys: byToken(4, 32), values: byToken(4, 32), recent: 8, marked: 4 }, marked: even },
    });
    // Marks of the first lie in its side store; the second's only hide tokens.
    const { side: _, markedTokens: __, ...rest } = second;
    const rows = rowsOf.decode;
    const expected = reference({ name: "", format: {} }, [first, rest], rows);
    await two.scope(async () => {
      const { shape, qkv, options } = inputs({ name: "", format: {} }, rows);
      const step = makeStep(two, rows, { isDecode: true });
      const prepared = { keyRows: undefined, meanTerms: undefined, dispose() {}, [Symbol.dispose]() {} };
      const stores = [uploadPages(two, first), uploadPages(two, rest)];
      const out = packedAttention(upload(two, qkv, shape), prepared, stores, options, step);
      expectNear(await out.readFloat32(), expected, { relativeRms: 2e-6 });
    });
  });

  test("a captured decode step reads its positions from the step buffer", async () => {
    const c = cases.find(({ name }) => name === "channels, norm")!;
    const bytes = storeBytes(c);
    await two.scope(async () => {
      const row = { slot: 1, past: 0, count: 1 };
      const { shape, qkv, options } = inputs(c, [row]);
      const step = makeStep(two, [row], { isDecode: true, lengthBound: 5000 });
      const pages = uploadPages(two, bytes);
      const input = upload(two, qkv, shape);
      const result = empty(two, [1, options.heads * bytes.format.headDim]);
      const prepared = { keyRows: undefined, meanTerms: undefined, dispose() {}, [Symbol.dispose]() {} };
      using list = two.capture(() => {
        const out = packedAttention(input, prepared, [pages], options, step);
        two.copy(out, result);
        out.dispose();
      });
      const blocks = two.memory.blocksMade;
      for (const past of [3, 57, 58, 139]) {
        const words = stepWords([{ ...row, past }]);
        step.tokens.write(Int32Array.from(words.tokens));
        step.rows.write(Int32Array.from(words.rows));
        list.replay();
        expectNear(await result.readFloat32(), reference(c, [bytes], [{ ...row, past }]), { relativeRms: 4e-6 });
      }
      expect(two.memory.blocksMade).toBe(blocks);
    });
  });
});
