import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { type BatchRow, makeStep, randomArray, type StepOptions, stepWords } from "../../../test/kv-batch.js";
import { expectNear } from "../../../test/near.js";
import { type PackedShape, packedBytes, uploadPacked } from "../../../test/packed-bytes.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import type { PackedFormat, SideFormat } from "../packed-kv/format.js";
import { ropeFrequencies, ropeTable } from "../rope/rope.js";
import { packedAttention, packedAttentionVariants } from "./packed-attention.js";
import { packedAttentionReference } from "./packed-attention.reference.js";

interface Case extends StepOptions {
  readonly name: string;
  readonly heads?: number;
  readonly format?: Partial<PackedFormat>;
  readonly rows: readonly BatchRow[];
  readonly window?: number;
  readonly store?: Partial<PackedShape>;
  /** Of a second store over the same tokens. */
  readonly second?: Partial<PackedShape>;
  /** Needs kernels of its own, which a software adapter takes seconds to compile: runs on the CPU and on real GPUs. */
  readonly ownKernel?: boolean;
  /** A form that only WebGPU's kernels have: the CPU's are tested by the other cases. */
  readonly onlyGpu?: boolean;
  /** Of the rotary table. */
  readonly factor?: number;
}

const side = (o: Partial<SideFormat> = {}): SideFormat => ({
  ...{ bits: 2, layout: "token", group: 16, quantiser: "min", clip: 1, norm: false },
  ...o,
});
const channel = (o: Partial<SideFormat> = {}): SideFormat => side({ layout: "channel", group: 32, ...o });
const even = (o: Partial<SideFormat> = {}): SideFormat => side({ quantiser: "even", ...o });
const levels = (bits: 2 | 3, group = 16): SideFormat => side({ bits, group, quantiser: "levels" });

const base: PackedFormat = {
  ...{ kvHeads: 2, headDim: 16, keys: side(), values: side() },
  ...{ ropeAtRead: false, keyRotation: 0, valueRotation: 0, ordered: false, meanPairs: 0 },
  ...{ sinks: 2, recent: 5, marked: 0, strictPrefill: false },
};

const decodeRows = (...lengths: number[]): BatchRow[] => lengths.map((n, slot) => ({ slot, past: n - 1, count: 1 }));

interface FormatCase {
  readonly name: string;
  readonly format: Partial<PackedFormat>;
  readonly heads?: number;
  readonly ownKernel?: boolean;
  /** A software adapter runs it as a prompt, too. */
  readonly prefillToo?: boolean;
}

const formats: readonly FormatCase[] = [
  { name: "2 bits by token", format: {} },
  { name: "3 bits by token", prefillToo: true, format: { keys: side({ bits: 3 }), values: side({ bits: 3 }) } },
  {
    name: "4 bits by token, head size 64",
    format: { headDim: 64, keys: side({ bits: 4 }), values: side({ bits: 4, group: 32 }) },
  },
  { name: "8 bits, zero points", format: { keys: side({ bits: 8, quantiser: "zp" }), values: side({ bits: 8 }) } },
  {
    name: "head size 8, rows of a word",
    format: { headDim: 8, keys: side({ group: 8 }), values: side({ bits: 4, group: 8 }) },
  },
  {
    name: "head size 12",
    ownKernel: true,
    format: { headDim: 12, keys: side({ bits: 3, group: 12 }), values: side({ group: 12 }) },
  },
  { name: "head size 80, rotated values", format: { headDim: 80, valueRotation: 16, values: side({ bits: 4 }) } },
  { name: "2 bits by channel", ownKernel: true, format: { keys: channel() } },
  {
    name: "2 bits by channel with norms",
    format: { keys: channel({ norm: true }), keyRotation: 16, valueRotation: 16 },
  },
  {
    name: "2 bits by channel with norms, head size 64: integers where the device has them",
    format: { headDim: 64, keys: channel({ norm: true }), values: side({ group: 32 }) },
  },
  { name: "2 bits by token, head size 64, two heads on one", format: { headDim: 64, kvHeads: 1 }, heads: 2 },
  {
    name: "3 bits by channel with norms, head size 64",
    format: { headDim: 64, keys: channel({ bits: 3, norm: true }) },
  },
  { name: "4 bits in blocks of 128 by channel", ownKernel: true, format: { keys: channel({ bits: 4, group: 128 }) } },
  { name: "2-bit levels", ownKernel: true, format: { keys: levels(2), values: levels(2) } },
  { name: "3-bit levels, 2-bit values", format: { keys: levels(3), values: levels(2), sinks: 0 } },
  { name: "levels and a mean split", prefillToo: true, format: { keys: levels(2), values: levels(2), meanPairs: 3 } },
  {
    name: "even steps and a mean split, head size 64: integers where the device has them",
    prefillToo: true,
    format: { headDim: 64, keys: even({ group: 32 }), values: even({ group: 64 }), meanPairs: 3, valueRotation: 64 },
  },
  {
    name: "a mean value, four heads on two",
    prefillToo: true,
    format: { valueMean: true, valueRotation: 16 },
    heads: 4,
  },
  {
    name: "even steps of 2 and 3 bits, odd groups",
    ownKernel: true,
    format: { headDim: 48, keys: even(), values: even({ bits: 3, group: 48 }), sinks: 0 },
  },
  { name: "norms by channel and a mean split", format: { keys: channel({ norm: true }), meanPairs: 5 } },
  { name: "three heads on one, head size 64", ownKernel: true, format: { headDim: 64, kvHeads: 1 }, heads: 3 },
  { name: "four heads on two, by channel", format: { keys: channel(), headDim: 32 }, heads: 4 },
];

/** RotateKV: keys packed before rotary, in the order of their means, rotated over several heads. */
const rotated = (headDim: number, kvHeads: number, keyRotation: number, bits: SideFormat["bits"]) => ({
  ...{ headDim, kvHeads, keyRotation, ropeAtRead: true, ordered: true, valueRotation: headDim & -headDim },
  ...{ keys: side({ bits, quantiser: "zp" }), values: side({ quantiser: "zp" }), sinks: 0, recent: 0, marked: 3 },
});
const marks = { marked: [0, 1, 9] };
const rotateKv = [
  { name: "rotary at every read, in registers", format: rotated(64, 4, 256, 2), store: marks },
  { name: "rotary at every read", format: rotated(16, 2, 32, 2), store: marks },
  {
    name: "rotary at every read, three segments",
    format: rotated(16, 2, 32, 2),
    store: { ...marks, segments: [2, 1, 2] },
  },
  {
    name: "rotary at every read, no order, 3 bits",
    format: { ...rotated(16, 2, 16, 3), ordered: false, marked: 0 },
    ownKernel: true,
  },
  {
    name: "rotary at every read, blocks across heads",
    format: rotated(48, 4, 64, 4),
    store: marks,
    heads: 8,
    ownKernel: true,
  },
  {
    name: "rotary at every read, rows in parts",
    format: rotated(128, 32, 512, 2),
    store: marks,
    ownKernel: true,
    onlyGpu: true,
  },
] as const;

const lengths: readonly { readonly name: string; readonly c: Omit<Case, "name"> }[] = [
  { name: "context 1", c: { rows: decodeRows(1) } },
  {
    name: "short, some without packed tokens",
    c: { rows: [...decodeRows(2, 3, 8, 40), { slot: -1, past: 4, count: 1 }] },
  },
  { name: "around a page", c: { rows: decodeRows(127, 136, 137), lengthBound: 700 } },
  {
    name: "a mean value, one token dead",
    c: { rows: [...decodeRows(40), { slot: -1, past: 4, count: 1 }], format: { valueMean: true } },
  },
  { name: "window 9", c: { rows: decodeRows(5, 40), window: 9 } },
  { name: "window 60 over a page's end", c: { rows: decodeRows(180), window: 60 } },
  { name: "no recent tokens, no sinks", c: { rows: decodeRows(1, 2, 70), format: { sinks: 0, recent: 0 } } },
  { name: "three segments", c: { rows: decodeRows(300, 150), store: { segments: [2, 1, 3] } } },
  { name: "a cut", c: { rows: decodeRows(41, 60), store: { floor: 40 } } },
  { name: "a cut that leaves all packed", c: { rows: decodeRows(34), store: { floor: 33 } } },
  { name: "marked tokens", c: { rows: decodeRows(30, 9), format: { marked: 3 }, store: { marked: [5, 17] } } },
  {
    name: "blocks that cuts left",
    c: { rows: decodeRows(170, 100), format: { keys: channel() }, store: { frozen: [32, 7, 30] } },
  },
  {
    name: "two widths",
    c: {
      rows: decodeRows(60),
      format: { marked: 2 },
      store: { marked: [5, 17], skipped: [8, 9, 30, 31, 32] },
      second: { skipped: [...Array(60).keys()].filter((j) => ![8, 9, 30, 31, 32].includes(j)) },
    },
  },
  {
    name: "a mean split over the pages of two segments",
    c: {
      rows: decodeRows(2110),
      format: { kvHeads: 16, keys: even(), values: even(), meanPairs: 5 },
      store: { segments: [14, 6] },
    },
  },
  { name: "yarn's factor", c: { rows: decodeRows(150), format: { keys: levels(2), meanPairs: 4 }, factor: 1.3 } },
];

const decodes: readonly Case[] = [
  ...formats.map((f) => ({ rows: decodeRows(5, 75), ...f })),
  ...lengths.map(({ name, c }) => ({ name, ...c })),
  ...rotateKv.map((c) => ({ rows: decodeRows(5, 75, 190), ...c })),
].map((c) => ({ ...c, isDecode: true }));

/** Rows of different lengths: a prompt's start, a continuation over a tile's border, a dead row, a single token. */
const ragged: readonly BatchRow[] = [
  { slot: 1, past: 0, count: 5 },
  { slot: 0, past: 50, count: 37 },
  { slot: -1, past: 2, count: 3 },
  { slot: 2, past: 141, count: 1 },
];

const strict = { strictPrefill: true };
const prefills: readonly Case[] = [
  ...formats.map((f) => ({ rows: [{ slot: 0, past: 60, count: 34 }], ...f, ownKernel: f.prefillToo !== true })),
  ...rotateKv.slice(1).map((c) => ({ rows: [{ slot: 0, past: 270, count: 3 }], ...c })),
  ...rotateKv
    .slice(0, 1)
    .map((c) => ({ ...c, name: "strict, rotary at every read", format: { ...c.format, ...strict }, rows: ragged })),
  { name: "context 1", rows: [{ slot: 0, past: 0, count: 1 }] },
  { name: "ragged rows", rows: ragged },
  { name: "ragged rows by channel", rows: ragged, format: { keys: channel() } },
  { name: "a mean value", rows: ragged, format: { valueMean: true } },
  { name: "window 7", rows: ragged, window: 7 },
  { name: "window 40 by channel", rows: ragged, window: 40, format: { keys: channel() } },
  { name: "no recent tokens, no sinks", rows: ragged, format: { sinks: 0, recent: 0 } },
  { name: "three segments", rows: [{ slot: 0, past: 300, count: 3 }], store: { segments: [2, 1, 2] } },
  { name: "a cut", rows: [{ slot: 0, past: 41, count: 9 }], store: { floor: 40 } },
  {
    name: "blocks that cuts left",
    rows: [ragged[1]!, { slot: 1, past: 141, count: 2 }],
    format: { keys: channel() },
    store: { frozen: [32, 7] },
  },
  { name: "marked tokens", rows: ragged, format: { marked: 3 }, store: { marked: [5, 17, 56] } },
  { name: "strict", rows: ragged, format: strict },
  { name: "strict, nothing in 16 bits", rows: ragged, format: { ...strict, sinks: 0, recent: 0 } },
  {
    name: "strict with marked tokens",
    rows: ragged,
    format: { ...strict, marked: 4 },
    store: { marked: [3, 5, 17, 60] },
  },
  {
    name: "strict, by channel",
    ownKernel: true,
    rows: ragged,
    format: { ...strict, keys: channel({ group: 16 }) },
    window: 60,
  },
  {
    name: "two widths",
    ownKernel: true,
    rows: ragged,
    format: { marked: 2 },
    store: { marked: [5, 17], skipped: [8, 9, 30, 31, 32] },
    second: { skipped: [...Array(200).keys()].filter((j) => ![8, 9, 30, 31, 32].includes(j)) },
  },
];

function prepare(c: Case) {
  const format: PackedFormat = { ...base, ...c.format };
  const { kvHeads, headDim, meanPairs } = format;
  const heads = c.heads ?? kvHeads;
  const first = packedBytes({ format, rows: c.rows, seed: 3, ...c.store });
  const secondFormat = { ...format, keys: side({ bits: 4 }), values: side({ bits: 4 }) };
  const stores = c.second
    ? [first, packedBytes({ format: secondFormat, rows: c.rows, seed: 5, isSecond: true, ...c.second })]
    : [first];
  const tokenCount = stepWords(c.rows).tokens.length / 4;
  const line = (heads + 2 * kvHeads) * headDim;
  const qkv = randomArray(tokenCount * line, 1, 2);
  const meanTerms = meanPairs > 0 ? randomArray(tokenCount * heads * meanPairs * 2, 2, 2) : undefined;
  const rotary = { rotaryDim: headDim, theta: 10_000 };
  const { inverse } = ropeFrequencies(rotary);
  const options = { heads, scale: 1 / Math.sqrt(headDim), ...(c.window === undefined ? {} : { window: c.window }) };
  const valueMean = format.valueMean ? randomArray(kvHeads * headDim, 4, 2) : undefined;
  const expected = packedAttentionReference({
    ...{ ...options, qkv, meanTerms, valueMean, stores, rows: c.rows },
    rope: { inverse, attentionFactor: c.factor ?? 1 },
  });
  const scaling = c.factor
    ? ({ type: "yarn", factor: 1, originalMaxPositions: 4096, attentionFactor: c.factor } as const)
    : undefined;
  return { format, heads, stores, tokenCount, line, qkv, meanTerms, valueMean, rotary, scaling, options, expected };
}

test("every WebGPU variant compiles", async () => {
  const checked = await compileOnNullBackend(packedAttentionVariants());
  expect(checked.filter(({ messages }) => messages.length > 0)).toEqual([]);
}, 60_000);

describe.each(await devices())("packedAttention on $label", (device) => {
  describe.each([
    { kind: "decode", cases: decodes },
    { kind: "prefill", cases: prefills },
  ])("$kind", ({ cases }) => {
    const isLeftOut = (c: Case) =>
      (c.ownKernel === true && device.isSoftware) || (c.onlyGpu === true && device.kind === "cpu");
    test.skip.each(cases.filter(isLeftOut))("$name (left to real GPUs)", () => {});

    test.each(cases.filter((c) => !isLeftOut(c)))("$name", async (c) => {
      const { stores, tokenCount, line, qkv, meanTerms, rotary, scaling, options, expected, format, valueMean } =
        prepare(c);
      const live = device.memory.live;
      await device.scope(async () => {
        const means = valueMean ? { valueMean: upload(device, valueMean, [format.kvHeads, format.headDim]) } : {};
        const pages = stores.map((store) => ({ ...uploadPacked(device, store), ...means }));
        const rope = ropeTable(device, { ...rotary, maxPositions: 4096, ...(scaling ? { scaling } : {}) });
        const prepared = {
          keyRows: undefined,
          meanTerms: meanTerms && upload(device, meanTerms, [tokenCount, options.heads, format.meanPairs, 2]),
          dispose() {},
          [Symbol.dispose]() {},
        };
        const input = upload(device, qkv, [tokenCount, line]);
        const step = makeStep(device, c.rows, c);
        const inside = device.memory.live;
        const out = packedAttention(input, prepared, pages, { ...options, rope }, step);
        expect(device.memory.live - inside).toBeLessThanOrEqual(Math.max(out.byteLength, 256));
        // Scores err by some √D · 2⁻²⁴ of their size, probabilities by as much, sums over the context by √T · 2⁻²⁴. Weights
        // that are rounded to integers err by 2⁻¹⁶ / √12 of the largest of four, and much of the result is offsets, which
        // are not rounded.
        expectNear(await out.readFloat32(), expected, { relativeRms: 3e-6 });
      });
      expect(device.memory.live).toBe(live);
    });
  });
});
