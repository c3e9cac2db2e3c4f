import { describe, expect, test } from "vitest";
import { devices, webgpuOrSkip } from "../../../test/devices.js";
import {
  type BatchRow,
  type CacheShape,
  type KvDType,
  makePages,
  makeStep,
  randomArray,
  rounded,
  type StepOptions,
  stepWords,
} from "../../../test/kv-batch.js";
import { expectNear } from "../../../test/near.js";
import { CpuDevice, type Device, WebGpuDevice } from "../../device/index.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { type Tensor, upload } from "../../tensor/index.js";
import { ropeFrequencies, ropeTable } from "../rope/rope.js";
import { ropeAppend } from "../rope-append/rope-append.js";
import { ropeAppendReference } from "../rope-append/rope-append.reference.js";
import { attention, attentionVariants } from "./attention.js";
import { attentionReference, type History } from "./attention.reference.js";

interface Case extends StepOptions {
  readonly name: string;
  readonly heads?: number;
  readonly kvHeads?: number;
  readonly headDim?: number;
  readonly dtype?: KvDType;
  readonly window?: number;
  readonly segments?: readonly number[];
  readonly rows: readonly BatchRow[];
  /** Factor of the queries: large ones make the softmax sharp. */
  readonly queries?: number;
  /** Needs a kernel of its own, which a software adapter takes seconds to compile: runs on the CPU and on real GPUs. */
  readonly ownKernel?: boolean;
}

const decodeRows = (...lengths: number[]): BatchRow[] => lengths.map((n, slot) => ({ slot, past: n - 1, count: 1 }));
/** Rows of different lengths: a prompt's start, a continuation over a page border, a dead row, a single token. */
const ragged: readonly BatchRow[] = [
  { slot: 2, past: 0, count: 5 },
  { slot: 0, past: 50, count: 37 },
  { slot: -1, past: 2, count: 3 },
  { slot: 1, past: 64, count: 1 },
];

const prefills: readonly Case[] = [
  { name: "one token, context 1", heads: 1, kvHeads: 1, headDim: 8, rows: decodeRows(1) },
  { name: "ragged rows", rows: ragged },
  { name: "window 1", rows: ragged, window: 1 },
  { name: "window 7", rows: ragged, window: 7 },
  { name: "window 64", rows: ragged, window: 64 },
  { name: "window longer than the context", rows: ragged, window: 500 },
  { name: "three heads on one", heads: 3, kvHeads: 1, rows: ragged },
  { name: "head size 24", headDim: 24, rows: ragged, ownKernel: true },
  { name: "eight heads on one", heads: 8, kvHeads: 1, rows: [{ slot: 0, past: 60, count: 9 }] },
  { name: "head size 12", headDim: 12, rows: ragged, ownKernel: true },
  { name: "head size 128", heads: 2, kvHeads: 1, headDim: 128, rows: ragged, ownKernel: true },
  { name: "head size 256", heads: 1, kvHeads: 1, headDim: 256, rows: ragged, ownKernel: true },
  { name: "f16 pages, head size 80", headDim: 80, dtype: "f16", rows: [{ slot: 0, past: 60, count: 6 }] },
  { name: "bf16 pages", headDim: 64, dtype: "bf16", rows: ragged, ownKernel: true },
  { name: "three segments, window", rows: ragged, segments: [2, 1, 3], window: 60 },
  { name: "more segments than a launch binds", rows: ragged, segments: [1, 1, 1, 1, 1, 1], window: 100 },
  { name: "f16 pages in two segments", dtype: "f16", rows: ragged, segments: [3, 3], ownKernel: true },
  { name: "sharp softmax", rows: [{ slot: 0, past: 0, count: 40 }], queries: 100 },
];

const decodeCases: readonly Case[] = [
  { name: "context 1", heads: 1, kvHeads: 1, headDim: 8, rows: decodeRows(1) },
  { name: "lengths around a page", rows: decodeRows(63, 64, 65, 66) },
  { name: "two pages and a dead row", rows: [...decodeRows(127, 128, 129), { slot: -1, past: 4, count: 1 }] },
  { name: "splits, some of them empty", rows: decodeRows(1, 65, 300), lengthBound: 400 },
  { name: "more splits than pages", rows: decodeRows(2, 130), lengthBound: 2500 },
  { name: "window 1", rows: decodeRows(1, 64, 65), window: 1 },
  { name: "window 7", rows: decodeRows(3, 64, 67), window: 7 },
  { name: "window 64 with splits", rows: decodeRows(64, 65, 150), window: 64, lengthBound: 2500 },
  { name: "three heads on one, head size 24", heads: 3, kvHeads: 1, headDim: 24, rows: decodeRows(70, 3) },
  { name: "eight heads on one", heads: 8, kvHeads: 1, headDim: 12, rows: decodeRows(70), ownKernel: true },
  { name: "sixteen heads on two", heads: 16, kvHeads: 2, rows: decodeRows(70), ownKernel: true },
  { name: "head size 128", heads: 2, kvHeads: 1, headDim: 128, rows: decodeRows(66), ownKernel: true },
  { name: "head size 256, five heads on one", heads: 5, kvHeads: 1, headDim: 256, rows: decodeRows(4) },
  { name: "f16 pages", headDim: 64, dtype: "f16", rows: decodeRows(5, 69) },
  { name: "bf16 pages", headDim: 24, dtype: "bf16", rows: decodeRows(5, 69) },
  { name: "two segments", rows: decodeRows(30, 200), segments: [2, 3] },
  { name: "f16 in three segments, splits", dtype: "f16", rows: decodeRows(300), segments: [2, 2, 2], ownKernel: true },
  { name: "more segments than a launch binds", rows: decodeRows(300, 70), segments: [1, 1, 2, 1, 1, 2, 1] },
  { name: "sharp softmax", rows: decodeRows(64, 190), queries: 100 },
];
const decodes = decodeCases.map((c) => ({ ...c, isDecode: true }));

interface Prepared {
  readonly shape: CacheShape;
  readonly qkv: Float32Array;
  readonly columns: number;
  readonly expected: Float64Array;
  readonly tolerance: number;
  readonly options: { readonly heads: number; readonly scale: number; readonly window?: number };
}

function prepare(c: Case): Prepared {
  const { heads = 4, kvHeads = 2, headDim = 8, dtype = "f32" } = c;
  const slots = 1 + Math.max(...c.rows.map((row) => row.slot));
  const lengths = Array.from({ length: slots }, (_, slot) => {
    const row = c.rows.find((r) => r.slot === slot);
    return row ? row.past + row.count : 1;
  });
  const contents = lengths.map((length, slot) => {
    const part = (seed: number) =>
      Float64Array.from(randomArray(length * kvHeads * headDim, seed + slot), (x) => rounded(2 * x, dtype));
    return { keys: part(100), values: part(200) };
  });
  const pagesNeeded = lengths.reduce((sum, length) => sum + Math.ceil(length / 64), 0);
  const segments = c.segments ?? [pagesNeeded + 1];
  const { tokens } = stepWords(c.rows);
  const tokenCount = tokens.length / 4;
  const columns = heads + 2 * kvHeads;
  const qkv = randomArray(tokenCount * columns * headDim, 1, 2 * (c.queries ?? 1));
  const options = { heads, scale: 1 / Math.sqrt(headDim), ...(c.window === undefined ? {} : { window: c.window }) };
  const history = (slot: number): History | undefined => contents[slot];
  const expected = attentionReference({
    ...{ ...options, kvHeads, headDim, qkv },
    tokens: Array.from({ length: tokenCount }, (_, t) => ({
      position: tokens[4 * t + 1]!,
      history: history(tokens[4 * t + 3]!),
    })),
  });
  // A score's error, about √D · 2⁻²⁴ · its size (at most 4·√D·queries), is the relative error of a probability; to that
  // come exp and the sums over the context.
  const context = Math.max(...lengths);
  const tolerance = 2 ** -24 * (16 + 2 * Math.sqrt(headDim) * (c.queries ?? 1) + Math.sqrt(context));
  return {
    shape: { dtype, kvHeads, headDim, segments, lengths, seed: 9, contents },
    qkv,
    columns,
    expected,
    tolerance,
    options,
  };
}

test("every WebGPU variant compiles", async () => {
  const checked = await compileOnNullBackend(attentionVariants());
  expect(checked.filter(({ messages }) => messages.length > 0)).toEqual([]);
});

const gpu = await webgpuOrSkip();
test.skipIf(!gpu).each([decodes[3]!, decodes[8]!])("without subgroups: $name", async (c) => {
  const { shape, qkv, columns, expected, tolerance, options } = prepare(c);
  await using device = await WebGpuDevice.open({ allowSoftware: true, disableFeatures: ["subgroups"] });
  await device.scope(async () => {
    const input = upload(device, qkv, [c.rows.length, columns * shape.headDim]);
    const out = attention(input, makePages(device, shape), options, makeStep(device, c.rows, c));
    expectNear(await out.readFloat32(), expected, { relativeRms: tolerance });
  });
});

describe.each(await devices())("attention on $label", (device) => {
  describe.each([
    { kind: "prefill", cases: prefills },
    { kind: "decode", cases: decodes },
  ])("$kind", ({ cases }) => {
    const isLeftOut = (c: Case) => c.ownKernel === true && device.isSoftware;
    const mine = cases.filter((c) => !isLeftOut(c));
    test.skip.each(cases.filter(isLeftOut))("$name (left to real GPUs)", () => {});

    test.each(mine)("$name", async (c) => {
      const { shape, qkv, columns, expected, tolerance, options } = prepare(c);
      const live = device.memory.live;
      await device.scope(async () => {
        const pages = makePages(device, shape);
        const tokens = qkv.length / columns / shape.headDim;
        const input = upload(device, qkv, [tokens, columns * shape.headDim]);
        const step = makeStep(device, c.rows, c);
        const inside = device.memory.live;
        const out = attention(input, pages, options, step);
        // Parts of a split context are gone when the operation returns.
        expect(device.memory.live - inside).toBeLessThanOrEqual(Math.max(out.byteLength, 256));
        expectNear(await out.readFloat32(), expected, { relativeRms: tolerance });
      });
      expect(device.memory.live).toBe(live);
    });
  });

  test.each([
    { name: "prefill", c: prefills[1]! },
    { name: "decode", c: decodes[3]! },
  ])("$name: permuting the rows permutes the result, bit for bit", async ({ c }) => {
    const { shape, qkv, columns, options } = prepare(c);
    const order = c.rows.map((_, i) => (i + 2) % c.rows.length);
    const starts = c.rows.map((_, i) => c.rows.slice(0, i).reduce((sum, row) => sum + row.count, 0));
    const tokenOf = order.flatMap((r) => Array.from({ length: c.rows[r]!.count }, (_, i) => starts[r]! + i));
    const line = columns * shape.headDim;
    const permuted = Float32Array.from(qkv, (_, i) => qkv[tokenOf[Math.floor(i / line)]! * line + (i % line)]!);
    await device.scope(async () => {
      const pages = makePages(device, shape);
      const run = (data: Float32Array, rows: readonly BatchRow[]) =>
        attention(
          upload(device, data, [tokenOf.length, line]),
          pages,
          options,
          makeStep(device, rows, c),
        ).readFloat32();
      const plain = await run(qkv, c.rows);
      const other = await run(
        permuted,
        order.map((r) => c.rows[r]!),
      );
      const width = options.heads * shape.headDim;
      tokenOf.forEach((t, i) => {
        expect(other.subarray(i * width, (i + 1) * width)).toEqual(plain.subarray(t * width, (t + 1) * width));
      });
    });
  });

  test.runIf(device.kind === "cpu").each([
    { name: "prefill", c: prefills[1]! },
    { name: "decode", c: decodes[3]! },
  ])("$name: one thread gives the same bits as two", async ({ c }) => {
    const { shape, qkv, columns, options } = prepare(c);
    const line = columns * shape.headDim;
    const run = (on: Device) =>
      on.scope(() => {
        const input = upload(on, qkv, [qkv.length / line, line]);
        return attention(input, makePages(on, shape), options, makeStep(on, c.rows, c)).readFloat32();
      });
    await using alone = await CpuDevice.open({ threads: 1 });
    expect(await run(alone)).toEqual(await run(device));
  });

  describe("a sequence through ropeAppend and attention", () => {
    const [heads, kvHeads, headDim, length] = [4, 2, 8, 70];
    const columns = heads + 2 * kvHeads;
    const line = columns * headDim;
    const rotary = { rotaryDim: 8, theta: 10_000 };
    const qkv = randomArray(length * line, 21, 2);
    const options = { heads, scale: 1 / Math.sqrt(headDim), window: 50 };
    const shape: CacheShape = { dtype: "f32", kvHeads, headDim, segments: [1, 2], lengths: [64, length], seed: 2 };
    const slot = 1;

    function reference(): Float64Array {
      const positions = Array.from({ length }, (_, i) => i);
      const rotated = ropeAppendReference({ heads, kvHeads, headDim, qkv, positions, rope: ropeFrequencies(rotary) });
      const size = kvHeads * headDim;
      const gather = (from: number) =>
        Float64Array.from(
          { length: length * size },
          (_, i) => rotated[Math.floor(i / size) * line + from + (i % size)]!,
        );
      const history = { keys: gather(heads * headDim), values: gather((heads + kvHeads) * headDim) };
      return attentionReference({
        ...{ ...options, kvHeads, headDim, qkv: rotated },
        tokens: positions.map((position) => ({ position, history })),
      });
    }
    const tolerance = { relativeRms: 3e-6 }; // rotation 1e-6 of each score, then as above

    test.each([
      { name: "one shot", chunks: [70] },
      { name: "in chunks", chunks: [1, 31, 33, 5] },
      { name: "prefill, then token by token", chunks: [62, 1, 1, 1, 1, 1, 1, 1, 1] },
    ])("$name equals the reference", async ({ chunks }) => {
      await device.scope(async () => {
        const pages = makePages(device, shape);
        const rope = ropeTable(device, { ...rotary, maxPositions: 1024 });
        const outputs: Tensor[] = [];
        let past = 0;
        for (const count of chunks) {
          const part = upload(device, qkv.slice(past * line, (past + count) * line), [count, line]);
          const step = makeStep(device, [{ slot, past, count }], { isDecode: count === 1, lengthBound: length });
          ropeAppend(part, pages, { heads, rope }, step);
          outputs.push(attention(part, pages, options, step));
          past += count;
        }
        const parts: Float32Array[] = [];
        for (const out of outputs) parts.push(await out.readFloat32());
        expectNear(
          parts.flatMap((part) => [...part]),
          reference(),
          tolerance,
        );
      });
    });

    test("a captured decode step, replayed with the positions of the step buffer", async () => {
      await device.scope(async () => {
        const pages = makePages(device, shape);
        const rope = ropeTable(device, { ...rotary, maxPositions: 1024 });
        const begin = 60;
        const prompt = upload(device, qkv.slice(0, begin * line), [begin, line]);
        const first = makeStep(device, [{ slot, past: 0, count: begin }]);
        ropeAppend(prompt, pages, { heads, rope }, first);
        const row = upload(device, new Float32Array(line), [1, line]);
        // A bound that gives several splits.
        const step = makeStep(device, [{ slot, past: 0, count: 1 }], { isDecode: true, lengthBound: 5000 });
        const result = upload(device, new Float32Array(heads * headDim), [1, heads * headDim]);
        using list = device.capture(() => {
          ropeAppend(row, pages, { heads, rope }, step);
          const out = attention(row, pages, options, step);
          device.copy(out, result);
          out.dispose();
        });
        const expected = reference();
        const blocks = device.memory.blocksMade;
        for (let past = begin; past < length; past += 1) {
          const words = stepWords([{ slot, past, count: 1 }]);
          step.tokens.write(Int32Array.from(words.tokens));
          step.rows.write(Int32Array.from(words.rows));
          row.write(qkv.slice(past * line, (past + 1) * line));
          list.replay();
          const width = heads * headDim;
          expectNear(await result.readFloat32(), expected.subarray(past * width, (past + 1) * width), {
            relativeRms: 6e-6, // a single token: no averaging over tokens
          });
        }
        expect(device.memory.blocksMade - blocks).toBeLessThanOrEqual(device.kind === "cpu" ? 0 : 2);
      });
    });
  });

  test("errors say what was expected", () => {
    device.scope(() => {
      const pages = makePages(device, { dtype: "f32", kvHeads: 1, headDim: 8, segments: [1], lengths: [64], seed: 1 });
      const qkv = upload(device, new Float32Array(24), [1, 24]);
      const step = makeStep(device, decodeRows(1));
      expect(() => attention(qkv, pages, { heads: 2, scale: 1 }, step)).toThrow(
        "attention: qkv expected f32 [T=1, (H=2 + 2·G=1)·D=8] = [1, 32], got f32 [1, 24].",
      );
      expect(() => attention(qkv, pages, { heads: 1, scale: 1, window: 0 }, step)).toThrow(
        "attention: window expected a whole number ≥ 1, got 0",
      );
      expect(() => attention(qkv, { ...pages, dtype: "f16" }, { heads: 1, scale: 1 }, step)).toThrow(
        "attention: keys of segment 0 expected f16 [1, 1, 64, 8], got f32 [1, 1, 64, 8].",
      );
      expect(() => attention(qkv, { ...pages, segments: [] }, { heads: 1, scale: 1 }, step)).toThrow(
        "attention: pages expected at least one segment, got none.",
      );
    });
  });
});
