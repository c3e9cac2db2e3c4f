import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill, fillValue } from "../../../test/fill.js";
import { expectNear } from "../../../test/near.js";
import { CpuDevice, type Device } from "../../device/index.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { empty, type Tensor, upload } from "../../tensor/index.js";
import { ROW_WORDS, type Step, TOKEN_WORDS } from "../step/layout.js";
import { lightningAttention, lightningAttentionVariants } from "./lightning-attention.js";
import { lightningOnWebGpu } from "./lightning-attention.launch-webgpu.js";
import { lightningAttentionReference } from "./lightning-attention.reference.js";

/** Sums of a few thousand products of numbers around 0.5, each rounded to 2⁻²⁴, some of them cancelling. */
const TOLERANCE = { relativeRms: 1e-5 };

interface Row {
  readonly slot: number;
  readonly count: number;
}

function stepWords(rows: readonly Row[]): { tokens: Int32Array; rows: Int32Array } {
  const tokens: number[] = [];
  const words: number[] = [];
  rows.forEach(({ slot, count }, r) => {
    words.push(tokens.length / TOKEN_WORDS, count, slot, 0);
    for (let i = 0; i < count; i++) tokens.push(0, i, r, slot);
  });
  return { tokens: Int32Array.from(tokens), rows: Int32Array.from(words) };
}

function makeStep(device: Device, rows: readonly Row[], isDecode = rows.every((row) => row.count === 1)): Step {
  const words = stepWords(rows);
  const tokenCount = words.tokens.length / TOKEN_WORDS;
  return {
    tokens: upload(device, words.tokens, [tokenCount, TOKEN_WORDS], "i32"),
    rows: upload(device, words.rows, [rows.length, ROW_WORDS], "i32"),
    tiles: undefined,
    tokenCount,
    rowCount: rows.length,
    isDecode,
    lengthBound: Math.max(...rows.map((row) => row.count)),
  };
}

/** Per-head slopes from λ ≈ 0.4 to λ ≈ 1. */
const slopes = (heads: number): Float32Array =>
  Float32Array.from({ length: heads }, (_, h) => (heads === 1 ? 0.3 : 0.917 * (1e-5 / 0.917) ** (h / (heads - 1))));

interface Setup {
  readonly heads: number;
  readonly headDim: number;
  readonly slots: number;
  readonly decay?: Float32Array;
}

function referenceOf(s: Setup, qkv: ArrayLike<number>, state: ArrayLike<number>, rows: readonly Row[]) {
  const words = stepWords(rows).rows;
  return lightningAttentionReference({
    ...{ qkv, state, heads: s.heads, headDim: s.headDim, decay: s.decay ?? slopes(s.heads) },
    rows: rows.map(({ slot, count }, r) => ({ slot, tokenCount: count, firstToken: words[r * ROW_WORDS]! })),
  });
}

const tokensOf = (rows: readonly Row[]): number => rows.reduce((sum, row) => sum + row.count, 0);

async function run(
  device: Device,
  s: Setup,
  qkv: Float32Array,
  state: Tensor,
  rows: readonly Row[],
  isDecode?: boolean,
): Promise<Float32Array> {
  return device.scope(async () => {
    const step = makeStep(device, rows, isDecode);
    const x = upload(device, qkv, [tokensOf(rows), s.heads * 3 * s.headDim]);
    const decay = upload(device, s.decay ?? slopes(s.heads), [s.heads]);
    return lightningAttention(x, state, decay, step).readFloat32();
  });
}

const inputOf = (s: Setup, tokens: number, stream: number): Float32Array =>
  fill(tokens * s.heads * 3 * s.headDim, stream);

const stateOf = (s: Setup): Float32Array => fill(s.slots * s.heads * s.headDim ** 2, 7);
const stateShape = (s: Setup): number[] => [s.slots, s.heads, s.headDim, s.headDim];

const row = (slot: number, count: number): Row => ({ slot, count });

interface Case {
  readonly name: string;
  readonly heads: number;
  readonly headDim: number;
  readonly rows: readonly Row[];
  readonly isDecode?: boolean;
  /** A prefill kernel takes the software adapter seconds to compile: this one shows nothing there that another does not. */
  readonly onlyCpu?: boolean;
}

const cases: readonly Case[] = [
  ...[1, 5, 31, 32, 33, 64, 65, 130].map((T) => ({
    name: `one row of ${T} tokens`,
    ...{ heads: 3, headDim: 8, rows: [row(1, T)], isDecode: false },
  })),
  { name: "one head of 24, rows in shuffled slots", heads: 1, headDim: 24, rows: [row(3, 33), row(0, 1), row(2, 7)] },
  {
    name: "eight heads of 24, enough rows for wide slices",
    ...{
      heads: 8,
      headDim: 24,
      rows: Array.from({ length: 16 }, (_, i) => row((7 * i) % 16, i === 5 ? 34 : 1 + (i % 3))),
    },
  },
  { name: "one head of 64, a row behind a block", heads: 1, headDim: 64, rows: [row(1, 1), row(3, 34)] },
  { name: "one head of 128", heads: 1, headDim: 128, rows: [row(0, 34)], onlyCpu: true },
  { name: "one head of 80", heads: 1, headDim: 80, rows: [row(0, 5)], onlyCpu: true },
  { name: "head size 7, not in quads", heads: 2, headDim: 7, rows: [row(1, 37), row(0, 1)] },
  { name: "head size 1", heads: 2, headDim: 1, rows: [row(1, 3)], onlyCpu: true },
  { name: "a dead row between others", heads: 3, headDim: 8, rows: [row(1, 4), row(-1, 34), row(0, 3)] },
  {
    name: "decode, shuffled slots, a dead row",
    heads: 3,
    headDim: 8,
    rows: [row(2, 1), row(-1, 1), row(0, 1), row(3, 1)],
  },
  ...[1, 7, 24, 64, 80, 128, 256].map((headDim) => ({
    name: `decode, head size ${headDim}`,
    ...{ heads: headDim < 100 ? 3 : 1, headDim, rows: [row(1, 1), row(0, 1)] },
  })),
  {
    name: "one-token rows in a step that is no decode step",
    heads: 3,
    headDim: 24,
    rows: [row(1, 1), row(0, 1)],
    isDecode: false,
  },
];

describe.each(await devices())("lightningAttention on $label", (device) => {
  test.each(cases.filter((c) => device.kind === "cpu" || !c.onlyCpu))(
    "$name",
    async ({ heads, headDim, rows, isDecode }) => {
      const s: Setup = { heads, headDim, slots: Math.max(4, rows.length + 1) };
      const qkv = inputOf(s, tokensOf(rows), 3);
      const initial = stateOf(s);
      const expected = referenceOf(s, qkv, initial, rows);
      const liveBefore = device.memory.live;
      {
        using state = upload(device, initial, stateShape(s));
        expectNear(await run(device, s, qkv, state, rows, isDecode), expected.out, TOLERANCE);
        const after = await state.readFloat32();
        expectNear(after, expected.state, TOLERANCE);
        // Slots that no row names keep every bit.
        const size = heads * headDim ** 2;
        for (let slot = 0; slot < s.slots; slot++) {
          if (rows.some((r) => r.slot === slot)) continue;
          expect(after.subarray(slot * size, (slot + 1) * size)).toEqual(
            initial.subarray(slot * size, (slot + 1) * size),
          );
        }
      }
      expect(device.memory.live).toBe(liveBefore);
    },
  );

  test("strong, vanishing and no decay", async () => {
    const s: Setup = { heads: 4, headDim: 8, slots: 1, decay: Float32Array.of(0, 2.5, 40, 1000) };
    const rows = [row(0, 70)];
    const qkv = inputOf(s, 70, 4);
    const expected = referenceOf(s, qkv, stateOf(s), rows);
    using state = upload(device, stateOf(s), stateShape(s));
    expectNear(await run(device, s, qkv, state, rows), expected.out, TOLERANCE);
    expectNear(await state.readFloat32(), expected.state, TOLERANCE);
  });

  test.each([[[70]], [[1, 32, 37]], [[33, 36, 1]], [Array.from({ length: 70 }, () => 1)]])(
    "pieces of %j tokens give what one pass gives",
    async (pieces) => {
      const s: Setup = { heads: 3, headDim: 8, slots: 2 };
      const T = 70;
      const qkv = inputOf(s, T, 5);
      const expected = referenceOf(s, qkv, stateOf(s), [row(1, T)]);
      using state = upload(device, stateOf(s), stateShape(s));
      const out = new Float32Array(T * s.heads * s.headDim);
      let t = 0;
      for (const count of pieces) {
        const part = qkv.subarray(t * s.heads * 3 * s.headDim, (t + count) * s.heads * 3 * s.headDim);
        out.set(await run(device, s, part, state, [row(1, count)]), t * s.heads * s.headDim);
        t += count;
      }
      expectNear(out, expected.out, TOLERANCE);
      expectNear(await state.readFloat32(), expected.state, TOLERANCE);
    },
  );

  test("the order of rows does not matter to any bit", async () => {
    const s: Setup = { heads: 2, headDim: 24, slots: 3 };
    const counts = [3, 34, 1];
    const size = s.heads * 3 * s.headDim;
    const inputs = counts.map((count, slot) => inputOf(s, count, 20 + slot));
    const results: { outs: Float32Array[]; state: Float32Array }[] = [];
    for (const order of [
      [0, 1, 2],
      [2, 0, 1],
    ]) {
      using state = upload(device, stateOf(s), stateShape(s));
      const qkv = Float32Array.from(order.flatMap((slot) => Array.from(inputs[slot]!)));
      const out = await run(
        device,
        s,
        qkv,
        state,
        order.map((slot) => row(slot, counts[slot]!)),
      );
      const outs: Float32Array[] = [];
      let t = 0;
      for (const slot of order) {
        outs[slot] = out.subarray((t * size) / 3, ((t + counts[slot]!) * size) / 3);
        t += counts[slot]!;
      }
      results.push({ outs, state: await state.readFloat32() });
    }
    expect(results[1]).toEqual(results[0]);
  });

  test.skipIf(device.kind === "cpu").each([8, 6])("chunks of rows equal the reference, D=%d", async (headDim) => {
    if (device.kind !== "webgpu") return;
    const s: Setup = { heads: 2, headDim, slots: 3 };
    const rows = [row(2, 259), row(-1, 2), row(0, 130)];
    const tokenCount = tokensOf(rows);
    const qkv = inputOf(s, tokenCount, 31);
    const expected = referenceOf(s, qkv, stateOf(s), rows);
    await device.scope(async () => {
      const step = makeStep(device, rows);
      const state = upload(device, stateOf(s), stateShape(s));
      const out = empty(device, [tokenCount, s.heads * headDim]);
      const x = upload(device, qkv, [tokenCount, s.heads * 3 * headDim]);
      const decay = upload(device, slopes(s.heads), [s.heads]);
      lightningOnWebGpu(device, { qkv: x, state, decay, out, heads: s.heads, headDim, step }, Infinity);
      expectNear(await out.readFloat32(), expected.out, TOLERANCE);
      expectNear(await state.readFloat32(), expected.state, TOLERANCE);
    });
  });

  test("a captured decode step follows the step buffer when it is replayed", async () => {
    const s: Setup = { heads: 3, headDim: 8, slots: 4 };
    let expectedState: ArrayLike<number> = stateOf(s);
    await device.scope(async () => {
      const state = upload(device, stateOf(s), stateShape(s));
      const decay = upload(device, slopes(s.heads), [s.heads]);
      const step = makeStep(device, [row(0, 1), row(1, 1), row(2, 1)]);
      const qkv = upload(device, inputOf(s, 3, 0), [3, s.heads * 3 * s.headDim]);
      let out: Tensor | undefined;
      using list = device.capture(() => {
        out = lightningAttention(qkv, state, decay, step);
      });
      for (const [i, slots] of [
        [0, 1, 2],
        [3, 1, 0],
        [3, -1, 0],
        [1, 2, 3],
      ].entries()) {
        const rows = slots.map((slot) => row(slot, 1));
        const words = stepWords(rows);
        step.tokens.write(words.tokens);
        step.rows.write(words.rows);
        const x = inputOf(s, 3, 40 + i);
        qkv.write(x);
        list.replay();
        const expected = referenceOf(s, x, expectedState, rows);
        expectNear(await out!.readFloat32(), expected.out, TOLERANCE);
        expectedState = expected.state;
      }
      expectNear(await state.readFloat32(), expectedState, TOLERANCE);
    });
  });

  test.each(goldens())("golden $name", async (golden) => {
    const { heads, headDim, T, streams } = golden;
    const s: Setup = { heads, headDim, slots: 1, decay: Float32Array.from(golden.slope) };
    using state = upload(device, fill(heads * headDim ** 2, streams.S0!), stateShape(s));
    const out = await run(device, s, goldenInput(golden), state, [row(0, T)]);
    expectNear(rowsOf(golden, out), golden.o, TOLERANCE);
    expectNear(await state.readFloat32(), golden.S_T, TOLERANCE);
  });

  test("tensors that do not fit are refused by name", () => {
    device.scope(() => {
      const step = makeStep(device, [row(0, 2)]);
      const f32 = (shape: number[]) => upload(device, new Float32Array(shape.reduce((a, b) => a * b, 1)), shape);
      const state = f32([1, 2, 4, 4]);
      const decay = f32([2]);
      expect(() => lightningAttention(f32([2, 16]), state, decay, step)).toThrow(
        /qkv expected .*\[2, 24\], got \[2, 16\]/,
      );
      expect(() => lightningAttention(f32([3, 24]), state, decay, step)).toThrow(
        /qkv expected .*\[2, 24\], got \[3, 24\]/,
      );
      expect(() => lightningAttention(f32([2, 24]), state, f32([3]), step)).toThrow(
        /decay expected .*\[2\], got \[3\]/,
      );
      expect(() => lightningAttention(f32([2, 24]), f32([1, 2, 4, 8]), decay, step)).toThrow(/state expected/);
      expect(() => lightningAttention(f32([2, 6 * 257]), f32([1, 2, 257, 257]), decay, step)).toThrow(/D ≤ 256/);
    });
  });
});

test("the number of CPU threads changes no bit", async () => {
  const s: Setup = { heads: 1, headDim: 72, slots: 1 };
  const results: Float32Array[] = [];
  for (const threads of [1, 3]) {
    await using device = await CpuDevice.open({ threads });
    using state = upload(device, stateOf(s), stateShape(s));
    results.push(await run(device, s, inputOf(s, 40, 3), state, [row(0, 40)]));
    results.push(await run(device, s, inputOf(s, 1, 4), state, [row(0, 1)]), await state.readFloat32());
  }
  expect(results.slice(3)).toEqual(results.slice(0, 3));
});

test.each(goldens())("the reference meets golden $name", (golden) => {
  const { heads, headDim, T, streams, slope } = golden;
  const { out, state } = lightningAttentionReference({
    ...{ qkv: goldenInput(golden), state: fill(heads * headDim ** 2, streams.S0!), decay: slope },
    ...{ rows: [{ firstToken: 0, tokenCount: T, slot: 0 }], heads, headDim },
  });
  // The fixture has twelve digits.
  expectNear(rowsOf(golden, out), golden.o, { relativeRms: 1e-11 });
  expectNear(state, golden.S_T, { relativeRms: 1e-11 });
});

test("the fill function gives its published first values", () => {
  expect(Array.from(fill(4, 100))).toEqual([
    -0.4584524631500244, -0.04424238204956055, 0.4037071466445923, -0.8170573711395264,
  ]);
  expect(fillValue(3, 4321)).toBe(0.31638848781585693);
});

test("every WebGPU variant compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend(lightningAttentionVariants())) {
    expect(messages, kernel.label).toEqual([]);
  }
});

interface Golden {
  readonly name: string;
  readonly heads: number;
  readonly headDim: number;
  readonly T: number;
  /** Tokens whose outputs are stored. */
  readonly rows: readonly number[];
  readonly streams: Readonly<Record<string, number>>;
  readonly slope: readonly number[];
  /** [heads, rows, headDim]. */
  readonly o: readonly number[];
  /** [heads, key, value]. */
  readonly S_T: readonly number[];
}

function goldens(): Golden[] {
  const file = new URL("../../../test/fixtures/ops/lightning.json", import.meta.url);
  return (JSON.parse(readFileSync(file, "utf8")) as { cases: Golden[] }).cases; // our own fixture
}

/** From the goldens' [heads, T, D] each to [T, heads, 3, D]. */
function goldenInput({ heads, headDim, T, streams }: Golden): Float32Array {
  const qkv = new Float32Array(T * heads * 3 * headDim);
  ["q", "k", "v"].forEach((name, part) => {
    for (let h = 0; h < heads; h++) {
      for (let t = 0; t < T; t++) {
        for (let c = 0; c < headDim; c++) {
          qkv[((t * heads + h) * 3 + part) * headDim + c] = fillValue((h * T + t) * headDim + c, streams[name]!);
        }
      }
    }
  });
  return qkv;
}

/** The stored tokens of out [T, heads, D], as [heads, rows, D]. */
function rowsOf({ heads, headDim, rows }: Golden, out: ArrayLike<number>): Float64Array {
  const picked: number[] = [];
  for (let h = 0; h < heads; h++) {
    for (const t of rows) {
      for (let c = 0; c < headDim; c++) picked.push(out[(t * heads + h) * headDim + c]!);
    }
  }
  return Float64Array.from(picked);
}
