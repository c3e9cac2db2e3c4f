import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { type BatchRow, makeStep, random } from "../../../test/kv-batch.js";
import type { Device } from "../../device/index.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { type Tensor, upload, zeros } from "../../tensor/index.js";
import type { PackedFormat, SideFormat } from "./format.js";
import { dropMarks, type MarkRule, markTokens } from "./mark-tokens.js";
import {
  dropMarksReference,
  type MarkState,
  markDecodeReference,
  markRowReference,
  markState,
} from "./mark-tokens.reference.js";
import { markTokensVariants } from "./mark-tokens.wgsl.js";
import type { PackedPages } from "./packed-pages.js";

test("every WebGPU variant compiles", async () => {
  const checked = await compileOnNullBackend(markTokensVariants());
  expect(checked.filter(({ messages }) => messages.length > 0)).toEqual([]);
});

const MAX_TOKENS = 200;
const CHANNELS = 37; // odd, and longer than four lanes

function pagesFor(device: Device, slots: number, marked: number, sinks: number): PackedPages & { scores: Tensor } {
  const side: SideFormat = { bits: 2, layout: "token", group: 8, quantiser: "zp", clip: 1, norm: false };
  const format: PackedFormat = {
    ...{ kvHeads: 1, headDim: 8, keys: side, values: side, ropeAtRead: false, keyRotation: 0, valueRotation: 0 },
    ...{ ordered: false, meanPairs: 0, sinks, recent: 0, marked, strictPrefill: false },
  };
  const none = { blocks: undefined, order: undefined, mean: undefined, pairs: undefined };
  return {
    format,
    segments: [],
    pageTable: zeros(device, [slots, 2], "i32"),
    side: zeros(device, [slots, sinks + marked, 8], "u32"),
    cuts: zeros(device, [slots, 2], "i32"),
    markedTokens: upload(device, new Int32Array(slots * marked).fill(-1), [slots, marked], "i32"),
    skips: zeros(device, [slots, Math.ceil(MAX_TOKENS / 32)], "u32"),
    scores: zeros(device, [slots, marked + 1], "f32"),
    ...none,
  };
}

async function stateOf(pages: PackedPages & { scores: Tensor }, slot: number): Promise<MarkState> {
  const { marked } = pages.format;
  const tokens = (await pages.markedTokens!.read()).subarray(slot * marked, (slot + 1) * marked);
  const scores = (await pages.scores.read()).subarray(slot * (marked + 1), (slot + 1) * (marked + 1));
  const words = pages.skips!.shape[1]!;
  const skips = (await pages.skips!.read()).subarray(slot * words, (slot + 1) * words);
  const skipped = new Set<number>();
  for (let t = 0; t < words * 32; t++) if ((skips[t >> 5]! >>> (t & 31)) & 1) skipped.add(t);
  return { tokens: Array.from(tokens), scores: Array.from(scores), skipped };
}

/** A free entry's score is of no interest. */
const visible = (state: MarkState) => ({
  marks: state.tokens.map((token, i) => (token < 0 ? undefined : { token, score: state.scores[i] })),
  median: state.scores.at(-1),
  skipped: [...state.skipped].sort((a, b) => a - b),
});

interface Case {
  readonly name: string;
  readonly rule: MarkRule;
  readonly marked: number;
  readonly sinks?: number;
  /** Tokens of each chunk, for slot 1. */
  readonly chunks: readonly number[];
  /** Tokens that stick out, with the factor on some of their channels. */
  readonly massive?: Readonly<Record<number, number>>;
  readonly equal?: boolean;
}

const entries: MarkRule = { kind: "entries", count: 20 };
const pivots: MarkRule = { kind: "tokens", count: 3, ratio: 0.5, outlier: 20 };

const cases: readonly Case[] = [
  { name: "entries: few tokens own them", rule: entries, marked: 20, chunks: [40], massive: { 0: 90, 7: 40 } },
  { name: "entries: no token sticks out", rule: entries, marked: 20, chunks: [70] },
  { name: "entries: all are equal", rule: entries, marked: 20, chunks: [30], equal: true },
  { name: "entries: two chunks", rule: entries, marked: 20, chunks: [33, 31], massive: { 3: 50, 40: 60 } },
  { name: "entries: fewer places than owners", rule: entries, marked: 2, chunks: [30] },
  { name: "entries: one token", rule: entries, marked: 20, chunks: [1] },
  { name: "tokens: the largest", rule: pivots, marked: 6, chunks: [50], massive: { 0: 90, 9: 30, 12: 30 } },
  { name: "tokens: sinks take no place", rule: pivots, marked: 6, sinks: 4, chunks: [50], massive: { 0: 90, 9: 30 } },
  { name: "tokens: fewer than the count", rule: pivots, marked: 6, chunks: [2] },
  {
    name: "tokens: chunks, then none better",
    rule: pivots,
    marked: 5,
    chunks: [20, 20, 20],
    massive: { 2: 9, 33: 99 },
  },
  { name: "tokens: all are equal", rule: pivots, marked: 6, chunks: [9], equal: true },
];

function hiddenStates(c: Case): Float32Array[] {
  const next = random(c.name.length);
  const total = c.chunks.reduce((a, b) => a + b, 0);
  return Array.from({ length: total }, (_, t) => {
    const row = Float32Array.from({ length: CHANNELS }, () => (c.equal ? -0.5 : next()));
    for (const channel of [5, 30, 36]) row[channel] = row[channel]! * (c.massive?.[t] ?? 1);
    return row;
  });
}

describe.each(await devices())("markTokens on $label", (device) => {
  test.each(cases)("$name", async (c) => {
    const live = device.memory.live;
    await device.scope(async () => {
      const pages = pagesFor(device, 2, c.marked, c.sinks ?? 0);
      const states = hiddenStates(c);
      const expected = markState(c.marked);
      let past = 0;
      for (const count of c.chunks) {
        const own = states.slice(past, past + count);
        markRowReference(expected, own, past, c.sinks ?? 0, c.rule);
        // Beside it a dead row, whose tokens are the largest of all.
        const rows: BatchRow[] = [
          { slot: -1, past: 0, count: 2 },
          { slot: 1, past, count },
        ];
        const all = new Float32Array((count + 2) * CHANNELS).fill(1e4, 0, 2 * CHANNELS);
        own.forEach((row, i) => void all.set(row, (i + 2) * CHANNELS));
        const hidden = upload(device, all, [count + 2, CHANNELS]);
        markTokens(hidden, pages, pages.scores, c.rule, makeStep(device, rows));
        past += count;
        expect(visible(await stateOf(pages, 1))).toEqual(visible(expected));
      }
      expect(visible(await stateOf(pages, 0))).toEqual(visible(markState(c.marked)));

      const length = Math.floor(past / 2);
      dropMarks(pages, pages.scores, 1, length);
      dropMarksReference(expected, length);
      expect(visible(await stateOf(pages, 1))).toEqual(visible(expected));
      dropMarks(pages, pages.scores, 1, 0);
      expect(visible(await stateOf(pages, 1))).toEqual(visible(markState(c.marked)));
    });
    expect(device.memory.live).toBe(live);
  });

  test("a generated token becomes a pivot when it sticks out as the pivots do, also in a replayed step", async () => {
    await device.scope(async () => {
      const pages = pagesFor(device, 2, 5, 0);
      const c: Case = { name: "decode", rule: pivots, marked: 5, chunks: [40], massive: { 0: 80, 4: 60, 6: 50 } };
      const states = hiddenStates(c);
      const expected = markState(5);
      markRowReference(expected, states, 0, 0, pivots);
      const all = new Float32Array(40 * CHANNELS);
      states.forEach((row, i) => void all.set(row, i * CHANNELS));
      markTokens(
        upload(device, all, [40, CHANNELS]),
        pages,
        pages.scores,
        pivots,
        makeStep(device, [{ slot: 1, past: 0, count: 40 }]),
      );
      const rows = (past: number): BatchRow[] => [
        { slot: 1, past, count: 1 },
        { slot: -1, past, count: 1 },
      ];
      const step = makeStep(device, rows(40), { isDecode: true });
      const hidden = zeros(device, [2, CHANNELS]);
      using list = device.capture(() => markTokens(hidden, pages, pages.scores, pivots, step));
      // Not large enough, large enough twice, NaN, and then no place is left.
      for (const [i, top] of [3, 70, 45, Number.NaN, 80].entries()) {
        const row = new Float32Array(CHANNELS).fill(0.1);
        row[11] = -top;
        const data = new Float32Array(2 * CHANNELS).fill(1e5);
        data.set(row);
        hidden.write(data);
        step.rows.write(Int32Array.from(rows(40 + i).flatMap(({ slot, past }, r) => [r, 1, slot, past])));
        list.replay();
        markDecodeReference(expected, row, 40 + i, pivots as Extract<MarkRule, { kind: "tokens" }>);
        expect(visible(await stateOf(pages, 1))).toEqual(visible(expected));
      }
      expect(expected.tokens).toContain(42);
    });
  });

  test("errors say what was expected", () => {
    device.scope(() => {
      const pages = pagesFor(device, 1, 3, 0);
      const step = makeStep(device, [{ slot: 0, past: 0, count: 2 }]);
      const hidden = zeros(device, [3, 8]);
      expect(() => markTokens(hidden, pages, pages.scores, pivots, step)).toThrow(
        "markTokens: hidden expected f32 [T=2, C], got [3, 8].",
      );
      expect(() => dropMarks(pages, pages.scores, 1, 0)).toThrow("dropMarks: slot expected 0 … 0, got [1].");
    });
  });
});
