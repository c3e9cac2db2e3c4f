import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { type BatchRow, makeStep, randomArray } from "../../../test/kv-batch.js";
import { emptyStore, packedFormat, readStore, type StoreShape, uploadStore } from "../../../test/packed-store.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { type RopeTable, ropeFrequencies, ropeTable, ropeTableValues } from "../rope/rope.js";
import { type PackedFormat, packedEnd } from "./format.js";
import { packKv, packVariants } from "./pack.js";
import { keyRow, packReference, type RotaryTable } from "./pack.reference.js";
import { cacheHalf } from "./quantiser.reference.js";

test("every WebGPU variant compiles", async () => {
  expect((await compileOnNullBackend(packVariants())).filter(({ messages }) => messages.length > 0)).toEqual([]);
});

interface Case {
  readonly name: string;
  readonly format: PackedFormat;
  readonly segments?: readonly number[];
  readonly inputs?: number;
}

const even = (bits: 2 | 3, group: number) => ({ bits, quantiser: "even", group, unbiased: true }) as const;
const levels = (bits: 2 | 3, headDim: number) => ({ bits, quantiser: "levels", group: headDim }) as const;

const cases: readonly Case[] = [
  { name: "2 bits, groups by token", format: packedFormat({}) },
  {
    name: "3 bits, zero points, an odd head size",
    format: packedFormat({
      headDim: 80,
      keys: { bits: 3, quantiser: "zp", group: 80, clip: 0.8 },
      values: { bits: 3, quantiser: "zp" },
    }),
  },
  {
    name: "4 and 8 bits, sinks, two segments",
    format: packedFormat({ sinks: 4, keys: { bits: 4, group: 32 }, values: { bits: 8, group: 32 } }),
    segments: [1, 3],
  },
  {
    name: "a head of 20 channels, a window",
    format: packedFormat({ headDim: 20, recent: 3, keys: { group: 20 }, values: { group: 20, bits: 4 } }),
  },
  {
    name: "a head of 12 channels, transformed",
    format: packedFormat({ headDim: 12, keyRotation: 4, keys: { group: 12, quantiser: "zp" }, values: { group: 12 } }),
  },
  {
    name: "large numbers saturate, NaN is zero",
    format: packedFormat({ sinks: 1, keys: { quantiser: "zp" } }),
    inputs: 200_000,
  },
  { name: "tiny numbers", format: packedFormat({ recent: 1, keys: { bits: 4 } }), inputs: 1e-6 },
  {
    name: "keys by channel, norms, a window",
    format: packedFormat({ sinks: 2, recent: 5, keys: { layout: "channel", norm: true, clip: 0.75 } }),
  },
  {
    name: "keys by channel, 3 bits, no window",
    format: packedFormat({ kvHeads: 1, headDim: 80, keys: { layout: "channel", bits: 3, group: 32 } }),
  },
  { name: "norms by token", format: packedFormat({ keys: { norm: true } }) },
  { name: "levels of 2 and 3 bits", format: packedFormat({ sinks: 1, keys: levels(3, 32), values: levels(2, 32) }) },
  {
    name: "levels, a head of 36 channels",
    format: packedFormat({ headDim: 36, keys: levels(2, 36), values: levels(3, 36) }),
  },
  {
    name: "unbiased levels",
    format: packedFormat({
      sinks: 1,
      keys: { ...levels(2, 32), unbiased: true },
      values: { ...levels(3, 32), unbiased: true },
    }),
  },
  {
    name: "unbiased levels of large and tiny numbers",
    format: packedFormat({
      headDim: 36,
      keys: { ...levels(3, 36), unbiased: true },
      values: { ...levels(2, 36), unbiased: true },
    }),
    inputs: 200_000,
  },
  {
    name: "even steps, scales of least squares",
    format: packedFormat({ keys: { ...even(3, 16), unbiased: false }, values: { ...even(2, 32), unbiased: false } }),
  },
  {
    name: "even steps, a head of 80 channels, large and tiny numbers",
    format: packedFormat({ headDim: 80, keys: even(2, 80), values: even(3, 16) }),
    inputs: 200_000,
  },
  {
    name: "mean split",
    format: packedFormat({
      sinks: 1,
      recent: 2,
      meanPairs: 16,
      keyRotation: 32,
      keys: even(2, 16),
      values: even(2, 32),
    }),
  },
  {
    name: "rotary at read, reordered",
    format: packedFormat({ ropeAtRead: true, ordered: true, keyRotation: 64, keys: { quantiser: "zp", clip: 0.8 } }),
  },
  {
    name: "rotary at read with a window",
    format: packedFormat({ ropeAtRead: true, ordered: true, keyRotation: 64, recent: 4, sinks: 1 }),
  },
  { name: "marked tokens, with and without a ring", format: packedFormat({ marked: 3, sinks: 1, recent: 4 }) },
  { name: "marked tokens without a ring", format: packedFormat({ marked: 3 }) },
];

/**
 * A prompt beside a short one and a dead row; decoding; a chunk over a page border (what came before it is the ring's zeros),
 * with the other decoding; decoding behind the border.
 */
const steps: readonly { rows: readonly BatchRow[]; isDecode?: boolean }[] = [
  {
    rows: [
      { slot: 1, past: 0, count: 3 },
      { slot: -1, past: 0, count: 2 },
      { slot: 0, past: 0, count: 21 },
    ],
  },
  {
    rows: [
      { slot: 0, past: 21, count: 1 },
      { slot: 1, past: 3, count: 1 },
      { slot: -1, past: 3, count: 1 },
    ],
    isDecode: true,
  },
  {
    rows: [
      { slot: 0, past: 122, count: 13 },
      { slot: 1, past: 4, count: 1 },
    ],
  },
  {
    rows: [
      { slot: 0, past: 135, count: 1 },
      { slot: 1, past: 5, count: 1 },
    ],
    isDecode: true,
  },
];

const heads = 2;
const frequencies = {
  rotaryDim: 16,
  theta: 10_000,
  scaling: { type: "yarn", factor: 4, originalMaxPositions: 64 },
} as const;

function rotaryTable(rope: RopeTable): RotaryTable {
  const { inverse, attentionFactor } = ropeFrequencies(frequencies);
  return {
    rotaryDim: rope.rotaryDim,
    values: ropeTableValues(inverse, attentionFactor, rope.highLines),
    attentionFactor,
  };
}

describe.each(await devices())("packKv on $label", (device) => {
  test.each(cases)("$name: the reference's bits", async (c) => {
    const { format } = c;
    const { kvHeads, headDim } = format;
    const channels = kvHeads * headDim;
    const columns = heads * kvHeads + 2 * kvHeads;
    const shape: StoreShape = {
      ...{ slots: 2, tokens: 160, segments: c.segments ?? [4], seed: 3 },
      ...(format.meanPairs > 0 ? { mean: randomArray(channels, 5, 3) } : {}),
      ...(format.ordered ? { order: Int32Array.from({ length: channels }, (_, i) => (i * 29 + 7) % channels) } : {}),
      ...(format.marked > 0 ? { markedTokens: Int32Array.of(0, 18, 128, 4, -1, 2) } : {}),
    };
    const state = emptyStore(format, shape);
    const live = device.memory.live;
    await device.scope(async () => {
      const pages = uploadStore(device, state, shape);
      const rope = ropeTable(device, { ...frequencies, maxPositions: 2048 });
      const table = rotaryTable(rope);
      for (const [index, { rows, isDecode = false }] of steps.entries()) {
        const count = rows.reduce((sum, row) => sum + row.count, 0);
        const qkv = randomArray(count * columns * headDim, index + 11, c.inputs ?? 2);
        if (c.inputs && c.inputs > 1) qkv[(heads * kvHeads + 1) * headDim - 3] = Number.NaN;
        const positions = rows.flatMap((row) => Array.from({ length: row.count }, (_, i) => row.past + i));
        const keyRows = new Float32Array(count * channels);
        positions.forEach((position, t) => {
          const from = (t * columns + heads * kvHeads) * headDim;
          const own = Array.from({ length: kvHeads }, (_, g) =>
            qkv.slice(from + g * headDim, from + (g + 1) * headDim),
          );
          keyRows.set(keyRow(state, own, table, position), t * channels);
        });
        packReference(state, { heads: heads * kvHeads, qkv, keyRows, rope: table, rows });
        device.scope(() => {
          const prepared = {
            keyRows: format.ropeAtRead ? upload(device, keyRows, [count, channels]) : undefined,
            meanTerms: undefined,
            dispose() {},
            [Symbol.dispose]() {},
          };
          const step = makeStep(device, rows, { isDecode });
          packKv(
            upload(device, qkv, [count, columns * headDim]),
            prepared,
            pages,
            { heads: heads * kvHeads, rope },
            step,
          );
        });
      }
      const found = await readStore(pages);
      expect(found.side).toEqual(state.side);
      expect(found.values).toEqual(state.values);
      expect(found.keys).toEqual(state.keys);
    });
    expect(device.memory.live).toBe(live);
  });

  test("a cut in the middle of a block: what comes after begins a block of its own", async () => {
    const format = packedFormat({ kvHeads: 1, headDim: 16, sinks: 2, recent: 1, keys: { layout: "channel" } });
    const shape: StoreShape = { slots: 1, tokens: 160, segments: [2], seed: 1 };
    const state = emptyStore(format, shape);
    const live = device.memory.live;
    await device.scope(async () => {
      const pages = uploadStore(device, state, shape);
      const run = (past: number, count: number) => {
        const qkv = randomArray(count * 3 * 16, past + count).map(cacheHalf);
        const rows = [{ slot: 0, past, count }];
        packReference(state, { heads: 1, qkv, rows });
        device.scope(() => {
          const nothing = { keyRows: undefined, meanTerms: undefined, dispose() {}, [Symbol.dispose]() {} };
          packKv(upload(device, qkv, [count, 48]), nothing, pages, { heads: 1 }, makeStep(device, rows));
        });
      };
      run(0, 40);
      expect(packedEnd(format, 40, 0)).toBe(34);
      // Back to 30 tokens: the second block (18 … 33) keeps twelve, token 30 opens the block at token slot 32.
      state.cuts.set([30, 2]);
      pages.cuts.write(state.cuts);
      run(30, 20);
      run(50, 1);
      const found = await readStore(pages);
      expect(found.side).toEqual(state.side);
      expect(found.keys).toEqual(state.keys);
      expect(found.values).toEqual(state.values);
    });
    expect(device.memory.live).toBe(live);
  });
});
