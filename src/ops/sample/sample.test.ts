import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { expectNear } from "../../../test/near.js";
import type { Device } from "../../device/index.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { CONTROL, CONTROL_WORDS, type Step } from "../step/layout.js";
import { markSeenKernel } from "./mark-seen.wgsl.js";
import {
  filteredProbabilities,
  filterProbabilities,
  markSeen,
  type SamplingParams,
  sample,
  uniformAt,
} from "./sample.js";
import { drawReference, markSeenReference } from "./sample.reference.js";
import { sampleVariants } from "./sample.wgsl.js";

interface Row extends SamplingParams {
  readonly logits: ArrayLike<number>;
  readonly seed?: number;
  readonly position?: number;
  readonly isActive?: boolean;
  /** Default: the row's number. */
  readonly slot?: number;
}

const UNTOUCHED = -7;

/** One row's words in `controls`. */
function controlOf(row: Row): Int32Array {
  const words = new Int32Array(CONTROL_WORDS);
  const floats = new Float32Array(words.buffer);
  words[CONTROL.active] = row.isActive === false ? 0 : 1;
  words[CONTROL.position] = row.position ?? 0;
  words[CONTROL.seed] = row.seed ?? 0;
  words[CONTROL.topK] = row.topK ?? 0;
  floats[CONTROL.temperature] = row.temperature ?? 1;
  floats[CONTROL.topP] = row.topP ?? 1;
  floats[CONTROL.minP] = row.minP ?? 0;
  floats[CONTROL.repetitionPenalty] = row.repetitionPenalty ?? 1;
  words[CONTROL.token] = UNTOUCHED;
  return words;
}

/** Uploads rows of one vocabulary. `seen` gets a word more than needed, so that its stride is not V's. */
function place(device: Device, rows: readonly Row[], slots = rows.length) {
  const V = rows[0]!.logits.length;
  const words = Math.ceil(V / 32) + 1;
  const logits = new Float32Array(rows.length * V);
  const controls = new Int32Array(slots * CONTROL_WORDS);
  const seen = new Uint32Array(slots * words);
  const rowWords: number[] = [];
  for (const [r, row] of rows.entries()) {
    const slot = row.slot ?? r;
    logits.set(Array.from(row.logits), r * V);
    rowWords.push(r, 1, slot, 0);
    if (slot < 0) continue;
    controls.set(controlOf(row), slot * CONTROL_WORDS);
    markSeenReference(
      seen,
      words,
      Array.from(row.seen ?? [], (id) => ({ id, slot })),
    );
  }
  const step: Step = {
    tokens: upload(device, rowWords, [rows.length, 4], "i32"),
    rows: upload(device, rowWords, [rows.length, 4], "i32"),
    tiles: undefined,
    tokenCount: rows.length,
    rowCount: rows.length,
    isDecode: true,
    lengthBound: 1,
  };
  return {
    logits: upload(device, logits, [rows.length, V]),
    controls: upload(device, controls, [slots, CONTROL_WORDS], "i32"),
    seen: upload(device, seen, [slots, words], "u32"),
    step,
  };
}

async function run(device: Device, rows: readonly Row[], slots?: number) {
  const liveBefore = device.memory.live;
  const result = await device.scope(async () => {
    const { logits, controls, seen, step } = place(device, rows, slots);
    const V = rows[0]!.logits.length;
    // A software adapter takes seconds to compile the kernel for large vocabularies: one of its two forms must do.
    const probabilities =
      device.isSoftware && V > 1024 ? undefined : filteredProbabilities(logits, controls, seen, step);
    sample(logits, controls, seen, step);
    const words = (await controls.read()) as Int32Array;
    const floats = new Float32Array(words.buffer);
    const all = await probabilities?.readFloat32();
    return rows.map((row, r) => {
      const at = Math.max(row.slot ?? r, 0) * CONTROL_WORDS;
      return {
        token: words[at + CONTROL.token]!,
        logProb: floats[at + CONTROL.logProb]!,
        probabilities: all?.subarray(r * V, (r + 1) * V),
      };
    });
  });
  expect(device.memory.live).toBe(liveBefore);
  return result;
}

/** Numbers in 0 … 1 that depend on the name alone. */
function generator(name: string): () => number {
  let i = 0;
  const seed = [...name].reduce((hash, letter) => Math.imul(hash ^ letter.charCodeAt(0), 0x01000193), 0x811c9dc5);
  return () => uniformAt(seed, i++);
}

function someLogits(name: string, V: number, spread = 8): Float32Array {
  const random = generator(name);
  return Float32Array.from({ length: V }, () => spread * (random() + random() + random() - 1.5));
}

/** Distance from u to the nearest edge of the cumulative probabilities. */
function edgeDistance(probabilities: Float64Array, u: number): number {
  let cumulative = 0;
  let nearest = 1;
  for (const p of probabilities) {
    cumulative += p;
    if (p > 0) nearest = Math.min(nearest, Math.abs(cumulative - u));
  }
  return nearest;
}

function expectLikeReference(
  row: Row,
  got: { token: number; logProb: number; probabilities: Float32Array | undefined },
): void {
  const logits = Float32Array.from(row.logits);
  const params = { ...row, temperature: Math.fround(row.temperature ?? 1) };
  const probabilities = filterProbabilities(logits, params);
  // exp errs by a few 2⁻²⁴ and by that of its argument, which is below 87.
  if (got.probabilities) expectNear(got.probabilities, probabilities, { absolute: 4e-6 });
  const { seed = 0, position = 0 } = row;
  const expected = drawReference(logits, probabilities, seed, position);
  if (edgeDistance(probabilities, uniformAt(seed, position)) > 1e-6 || row.temperature === 0) {
    expect(got.token).toBe(expected.token);
    expect(Math.abs(got.logProb - expected.logProb)).toBeLessThan(1e-5 * (1 + Math.abs(expected.logProb)));
  }
  expect(probabilities[got.token]).toBeGreaterThan(0);
}

interface Golden {
  readonly logits: Record<string, number[]>;
  readonly cases: readonly {
    readonly logits: string;
    readonly params: { temperature?: number; top_k?: number; top_p?: number; min_p?: number };
    readonly kept: number[];
    readonly probabilities: number[];
  }[];
}
const golden = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/ops/sampling.json", import.meta.url), "utf8"),
) as Golden; // our own file

function goldenRow(c: Golden["cases"][number]): Row {
  const { temperature = 1, top_k = 0, top_p = 1, min_p = 0 } = c.params;
  return { logits: golden.logits[c.logits]!, temperature, topK: top_k, topP: top_p, minP: min_p };
}

test("the float64 reference meets the golden kept sets and probabilities", () => {
  for (const c of golden.cases) {
    const row = goldenRow(c);
    const p = filterProbabilities(row.logits, row);
    expect([...p.keys()].filter((i) => p[i]! > 0)).toEqual(c.kept);
    expectNear(
      c.kept.map((i) => p[i]!),
      c.probabilities,
      { absolute: 1e-10 },
    );
  }
});

const V = 67;
const ties = Float32Array.from({ length: V }, (_, i) => [2, -0.5, 2, 0, -0, 1][i % 6]!);
const cases: readonly { readonly name: string; readonly rows: readonly Row[] }[] = [
  {
    name: "greedy: ties go to the lowest index, penalty applies",
    rows: [
      { logits: ties, temperature: 0 },
      { logits: ties, temperature: 0, repetitionPenalty: 1.5, seen: [0, 2, 6] },
      { logits: someLogits("greedy", V), temperature: 0, topK: 3, topP: 0.5 },
      {
        logits: someLogits("negative", V).map((x) => x - 100),
        temperature: 0,
        repetitionPenalty: 2,
        seen: [0, 1, 2, 40, 66],
      },
      { logits: new Float32Array(V), temperature: 0 },
    ],
  },
  {
    name: "each filter alone and together, rows of different settings",
    rows: [
      { logits: someLogits("a", V), seed: 1 },
      { logits: someLogits("b", V), seed: -2, position: 7, temperature: 0.3 },
      { logits: someLogits("c", V), seed: 3, topK: 1 },
      { logits: someLogits("d", V), seed: 4, topK: 9 },
      { logits: someLogits("e", V), seed: 5, topP: 0.83 },
      { logits: someLogits("f", V), seed: 6, minP: 0.07 },
      {
        logits: someLogits("g", V),
        seed: 7,
        position: 100_000,
        temperature: 1.9,
        topK: 30,
        topP: 0.9,
        minP: 0.02,
        repetitionPenalty: 1.3,
        seen: [3, 4, 5, 31, 32, 33, 66],
      },
      { logits: someLogits("h", V), seed: 8, topP: 1e-6 },
      { logits: someLogits("i", V), seed: 9, topK: V, minP: 1 },
    ],
  },
  {
    name: "equals at the cuts: top-k keeps them all, top-p the lowest indices",
    rows: [
      { logits: ties, topK: 2, seed: 1 },
      { logits: ties, topP: 0.3, seed: 2 },
      { logits: ties, topP: 0.9, seed: 3 },
      { logits: ties, topK: 24, topP: 0.97, seed: 4 },
      { logits: new Float32Array(V), topP: 0.61, seed: 5 },
      { logits: new Float32Array(V).fill(-3), topK: 5, topP: 0.999, seed: 6, position: 3 },
    ],
  },
  {
    name: "infinities and NaN",
    rows: [
      { logits: new Float32Array(V).fill(NaN), seed: 3 },
      { logits: new Float32Array(V).fill(NaN), temperature: 0 },
      { logits: someLogits("masked", V).map((x, i) => (i % 3 === 0 ? x : -Infinity)), seed: 4, topP: 0.9, topK: 40 },
      { logits: someLogits("some nan", V).map((x, i) => (i % 5 === 1 ? NaN : x)), seed: 5, topP: 0.95 },
      { logits: someLogits("inf", V).map((x, i) => (i === 50 ? Infinity : x)), seed: 6 },
      { logits: new Float32Array(V).fill(-Infinity), temperature: 0, repetitionPenalty: 1.1, seen: [0, 5] },
      { logits: someLogits("large", V, 1e20), seed: 7, topP: 0.9 },
    ],
  },
  {
    name: "one token",
    rows: [
      { logits: [0.25], topP: 0.5 },
      { logits: [-3], temperature: 0 },
    ],
  },
  { name: "ten tokens", rows: [1, 2, 3, 4].map((seed) => ({ logits: someLogits("ten", 10), seed, topP: 0.9 })) },
  {
    name: "longer than a workgroup",
    rows: [
      { logits: someLogits("long", 1291), seed: 1, topP: 0.95 },
      {
        logits: someLogits("long2", 1291),
        seed: 2,
        topK: 700,
        minP: 0.001,
        repetitionPenalty: 1.2,
        seen: [0, 1023, 1024, 1290],
      },
    ],
  },
  {
    name: "a large vocabulary",
    rows: [
      { logits: someLogits("vocabulary", 200_063), temperature: 0, repetitionPenalty: 1.1, seen: [200_062] },
      { logits: someLogits("vocabulary", 200_063), temperature: 0.5, seed: 5, topP: 0.9 },
    ],
  },
];

describe.each(await devices())("sample on $label", (device) => {
  test("golden kept sets and probabilities", async () => {
    for (const name of Object.keys(golden.logits)) {
      const own = golden.cases.filter((c) => c.logits === name);
      const results = await run(device, own.map(goldenRow));
      for (const [i, c] of own.entries()) {
        const p = results[i]!.probabilities!;
        expect(
          [...p.keys()].filter((j) => p[j]! > 0),
          JSON.stringify(c.params),
        ).toEqual(c.kept);
        expectNear(
          c.kept.map((j) => p[j]!),
          c.probabilities,
          { absolute: 4e-6 },
        );
        expect(c.kept).toContain(results[i]!.token);
      }
    }
  });

  test.each(cases)("$name", async ({ rows }) => {
    const results = await run(device, rows);
    for (const [r, row] of rows.entries()) expectLikeReference(row, results[r]!);
  });

  test("random rows", async () => {
    const rowOf = (V: number) =>
      fc.record({
        logits: fc.array(
          fc.integer({ min: -12, max: 12 }).map((x) => x / 2),
          { minLength: V, maxLength: V },
        ),
        temperature: fc.constantFrom(0, 0.5, 1, 1.5),
        topK: fc.integer({ min: 0, max: 1 + V }),
        // Shares that sums of equal weights do not meet exactly.
        topP: fc.constantFrom(1, 0.1234567, 0.5123457, 0.8765432, 0.9512346),
        minP: fc.constantFrom(0, 0.0123, 0.456),
        repetitionPenalty: fc.constantFrom(1, 1.25, 2),
        seen: fc.uniqueArray(fc.nat(V - 1)),
        seed: fc.integer(),
        position: fc.nat(1_000_000),
      });
    const some = fc.integer({ min: 1, max: 40 }).chain((V) => fc.array(rowOf(V), { minLength: 1, maxLength: 8 }));
    await fc.assert(
      fc.asyncProperty(some, async (rows) => {
        const results = await run(device, rows);
        for (const [r, row] of rows.entries()) expectLikeReference(row, results[r]!);
      }),
      { seed: 20, numRuns: device.kind === "cpu" ? 100 : 12 },
    );
  });

  test("rows without a slot, inactive slots, slots in another order", async () => {
    const rows: Row[] = [
      { logits: someLogits("x", 33), slot: 4, seed: 1 },
      { logits: someLogits("y", 33), slot: -1 },
      { logits: someLogits("z", 33), slot: 0, isActive: false },
      { logits: someLogits("w", 33), slot: 2, seed: 9, topK: 4 },
    ];
    const results = await run(device, rows, 5);
    for (const r of [0, 3]) expectLikeReference(rows[r]!, results[r]!);
    expect([...results[1]!.probabilities!]).toEqual(Array(33).fill(0));
    expect(results[2]!.token).toBe(UNTOUCHED);
  });

  test("4,000 draws follow the probabilities", async () => {
    // min-p needs no threshold: a software adapter takes a second for 4,000 rows of top-p.
    const filter = device.kind === "cpu" ? { topP: 0.97 } : { minP: 0.02 };
    const row: Row = { logits: someLogits("draws", 23, 3), temperature: 1.2, seed: 11, ...filter };
    const counts = new Int32Array(23);
    const draws = 4000;
    const batch = 1000;
    for (let first = 0; first < draws; first += batch) {
      await device.scope(async () => {
        const rows = Array.from({ length: batch }, (_, i) => ({ ...row, position: first + i }));
        const { logits, controls, seen, step } = place(device, rows);
        sample(logits, controls, seen, step);
        const words = (await controls.read()) as Int32Array;
        for (let r = 0; r < batch; r++) counts[words[r * CONTROL_WORDS + CONTROL.token]!]! += 1;
      });
    }
    const expected = filterProbabilities(row.logits, row).map((p) => p * draws);
    let chiSquare = 0;
    let kinds = 0;
    for (const [i, e] of expected.entries()) {
      if (e === 0) expect(counts[i]).toBe(0);
      else {
        kinds += 1;
        chiSquare += (counts[i]! - e) ** 2 / e;
      }
    }
    expect(kinds).toBeGreaterThan(10);
    // Mean kinds − 1, variance twice that: three deviations.
    expect(chiSquare).toBeLessThan(kinds - 1 + 3 * Math.sqrt(2 * (kinds - 1)));
  });

  test("captured and replayed", async () => {
    await device.scope(async () => {
      const rows: Row[] = [{ logits: someLogits("replay", 40), seed: 3, topP: 0.9, repetitionPenalty: 1.5 }];
      const { logits, controls, seen, step } = place(device, rows);
      using list = device.capture(() => sample(logits, controls, seen, step));
      for (const position of [5, 6, 7]) {
        const next = { ...rows[0]!, logits: someLogits(`replay ${position}`, 40), position, seen: [position] };
        logits.write(next.logits as Float32Array);
        controls.write(controlOf(next));
        seen.write(Uint32Array.of(1 << position, 0, 0));
        list.replay();
        const words = (await controls.read()) as Int32Array;
        expect(words[CONTROL.token]).toBe(
          drawReference(next.logits, filterProbabilities(next.logits, next), 3, position).token,
        );
      }
    });
  });

  test("markSeen sets the bits of the step's tokens and no others", async () => {
    const random = generator("seen");
    const tokens = Array.from({ length: 150 }, () => ({
      id: Math.floor(random() * 110) - 5,
      slot: Math.floor(random() * 4) - 1,
    }));
    const expected = Uint32Array.from({ length: 9 }, (_, i) => i * 0x1234567);
    await device.scope(async () => {
      const seen = upload(device, expected, [3, 3], "u32");
      const words = tokens.flatMap(({ id, slot }, t) => [id, t, 0, slot]);
      const step: Step = {
        tokens: upload(device, words, [tokens.length, 4], "i32"),
        rows: upload(device, [0, tokens.length, 0, 0], [1, 4], "i32"),
        tiles: undefined,
        tokenCount: tokens.length,
        rowCount: 1,
        isDecode: false,
        lengthBound: tokens.length,
      };
      markSeen(seen, step);
      markSeenReference(expected, 3, tokens);
      expect(await seen.read()).toEqual(expected);
    });
  });

  test("wrong shapes are readable errors", () => {
    device.scope(() => {
      const { logits, controls, seen, step } = place(device, [{ logits: new Float32Array(70) }]);
      const narrow = upload(device, [0, 0], [1, 2], "u32");
      expect(() => sample(logits, controls, narrow, step)).toThrow(
        "sample: seen expected [slots=1, words ≥ 3], got [1, 2].",
      );
      expect(() => sample(logits.reshape([2, 35]), controls, seen, step)).toThrow(
        "sample: logits expected [R=1, V ≥ 1] (rows of the step), got [2, 35].",
      );
      expect(() => sample(logits, controls.reshape([2, 32]), seen, step)).toThrow(
        "controls expected [slots, 64], got [2, 32].",
      );
      expect(() => markSeen(logits, step)).toThrow("markSeen: seen expected u32, got f32");
    });
  });
});

test("the random number is that of the written formula", () => {
  expect(
    [uniformAt(0, 0), uniformAt(1, 0), uniformAt(0, 1), uniformAt(-1, 1_000_000)].map((u) => u * 2 ** 24),
  ).toMatchInlineSnapshot(`
    [
      12906979,
      16735101,
      10847134,
      9259863,
    ]
  `);
});

test("every WebGPU variant compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend([...sampleVariants(), markSeenKernel])) {
    expect(messages, kernel.label).toEqual([]);
  }
});
