import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Device } from "../../device/index.js";
import { open } from "../../device/index.js";
import type { LanguageModel } from "../../models/index.js";
import { embedding, type WeightMatrix, weightFromFloat32 } from "../../ops/index.js";
import { negativeLogLikelihood } from "./negative-log-likelihood.js";
import { perplexity, summary, TextTooShortError, windowStarts } from "./perplexity.js";

const V = 8;
/** Logits of a model that looks at the last token only. */
const table = Float32Array.from({ length: V * V }, (_, i) => ((i * 37) % 23) / 4);

function logProb(before: number, next: number): number {
  const row = Array.from(table.subarray(before * V, (before + 1) * V));
  return (row[next] as number) - Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0));
}

/** Letters a–h are ids 0–7. Token c stands for three bytes. */
const tokenizer = {
  encode: (text: string) => [...text].map((letter) => letter.charCodeAt(0) - 97),
  tokenBytes: (id: number) => new Uint8Array(id === 2 ? 3 : 1),
};

describe("negativeLogLikelihood", () => {
  test("uniform logits cost log V, whatever their height", () => {
    const logits = new Float32Array(2 * V).fill(1e4);
    expect(negativeLogLikelihood(logits, [0, 7], V)).toBeCloseTo(2 * Math.log(V), 12);
  });

  test("sums rows", () => {
    expect(negativeLogLikelihood(table.slice(0, 2 * V), [3, 5], V)).toBeCloseTo(-logProb(0, 3) - logProb(1, 5), 12);
  });

  test("sizes and ids are checked", () => {
    expect(() => negativeLogLikelihood(new Float32Array(V), [0, 1], V)).toThrow(/\[T=2, V=8\], got 8 values/);
    expect(() => negativeLogLikelihood(new Float32Array(V), [8], V)).toThrow(/target 0 is id 8/);
  });
});

describe("windowStarts", () => {
  test.each([
    { ids: 5, context: 4, limit: undefined, starts: [0] },
    { ids: 4, context: 4, limit: undefined, starts: [] },
    { ids: 9, context: 4, limit: undefined, starts: [0, 4] },
    { ids: 12, context: 4, limit: undefined, starts: [0, 4] },
    { ids: 13, context: 4, limit: 8, starts: [0, 4] },
    { ids: 13, context: 4, limit: 1, starts: [0] },
  ])("$ids ids, context $context, limit $limit", ({ ids, context, limit, starts }) => {
    expect(windowStarts(ids, context, limit)).toEqual(starts);
  });
});

test("summary weighs by tokens", () => {
  const cache = { cacheBytes: 30, cacheComponents: 60 };
  const one = { nll: 8 * Math.LN2, tokens: 8, bytes: 16, ...cache };
  expect(summary(one)).toEqual({
    perplexity: 2,
    nllPerToken: Math.LN2,
    bitsPerByte: 0.5,
    tokens: 8,
    bytes: 16,
    effectiveBits: 4,
  });
  const both = summary(one, { nll: 0, tokens: 24, bytes: 16, cacheBytes: 0, cacheComponents: 60 });
  expect(both.nllPerToken).toBeCloseTo(Math.LN2 / 4, 12);
  expect(both.bitsPerByte).toBeCloseTo(0.25, 12);
});

describe("perplexity", () => {
  let device: Device;
  let weights: WeightMatrix;
  let steps: { tokens: number; rows: number; bound: number }[];
  let language: LanguageModel;

  beforeAll(async () => {
    device = await open({ prefer: "cpu", cpu: { threads: 1 } });
    weights = weightFromFloat32(device, table, V, V, "f32");
    language = {
      family: "last token",
      device,
      vocabSize: V,
      layers: 0,
      state: {
        softmaxLayers: 0,
        kvHeads: 1,
        headDim: 4,
        lightningLayers: 0,
        lightningHeads: 1,
        lightningHeadDim: 4,
        vocabSize: V,
        maxPositions: 64,
      },
      weightBytes: 0,
      parameters: { total: 0, active: 0 },
      forward(step) {
        steps.push({ tokens: step.tokenCount, rows: step.rowCount, bound: step.lengthBound });
        return embedding(step, weights);
      },
      dispose: () => undefined,
      [Symbol.dispose]: () => undefined,
    };
  });
  afterAll(async () => {
    weights.dispose();
    await device.close();
  });

  const text = "abcdefghhgfedcbaaceg";
  const expected = (ids: readonly number[], tokens: number) =>
    ids.slice(1, tokens + 1).reduce((sum, next, t) => sum - logProb(ids[t] as number, next), 0);

  test.each([
    { name: "a window in chunks", context: 9, stepTokens: 4, steps: [4, 4, 1, 4, 4, 1] },
    { name: "a window a step", context: 9, stepTokens: 9, steps: [9, 9] },
    { name: "windows side by side", context: 4, stepTokens: 8, steps: [8, 8] },
    { name: "token by token", context: 6, stepTokens: 1, steps: Array.from({ length: 18 }, () => 1) },
  ])("$name", async (c) => {
    steps = [];
    const liveBefore = device.memory.live;
    const seen: number[] = [];
    const sum = await perplexity({ language, tokenizer }, text, {
      context: c.context,
      stepTokens: c.stepTokens,
      onProgress: ({ done }) => seen.push(done),
    });
    const ids = tokenizer.encode(text);
    const tokens = Math.floor((ids.length - 1) / c.context) * c.context;
    expect(sum.tokens).toBe(tokens);
    expect(sum.nll).toBeCloseTo(expected(ids, tokens), 10);
    expect(sum.bytes).toBe(tokens + 2 * ids.slice(1, tokens + 1).filter((id) => id === 2).length);
    expect(steps.map((step) => step.tokens)).toEqual(c.steps);
    expect(Math.max(...steps.map((step) => step.bound))).toBe(c.context);
    expect(seen.at(-1)).toBe(tokens);
    expect(device.memory.live).toBe(liveBefore);
  });

  test("start ids come first and are not predicted", async () => {
    steps = [];
    const sum = await perplexity({ language, tokenizer }, "bcde", { context: 4, startIds: [7] });
    expect(sum.tokens).toBe(4);
    expect(sum.nll).toBeCloseTo(expected([7, 1, 2, 3, 4], 4), 10);
  });

  test("what cannot be measured is said", async () => {
    steps = [];
    const model = { language, tokenizer };
    await expect(perplexity(model, "abc", { context: 4 })).rejects.toThrow(TextTooShortError);
    await expect(perplexity(model, text, { context: 65 })).rejects.toThrow(/from 1 to 64 .* got 65/);
    await expect(perplexity(model, text, { context: 4, signal: AbortSignal.abort(new Error("stop")) })).rejects.toThrow(
      "stop",
    );
    expect(steps).toEqual([]);
  });
});
