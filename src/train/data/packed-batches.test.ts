/** Batches are full, lose nothing, keep their shares, and go on from any place. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { TrainingBatch } from "./batch.js";
import { packedBatches, type WeightedSource } from "./packed-batches.js";
import { Permutation } from "./permutation.js";
import type { Piece, PieceSource } from "./piece.js";

/** Piece n has `lengths[n % …]` tokens; its ids say where they come from: source · 10⁶ + n · 1000 + place. */
function source(index: number, lengths: readonly number[], isWhole: boolean, lossFrom = 0): PieceSource {
  return {
    name: `source ${index}`,
    async piece(n): Promise<Piece> {
      const length = lengths[n % lengths.length]!;
      const ids = Array.from({ length: length + 1 }, (_, i) => index * 1_000_000 + n * 1000 + i);
      return { ids, loss: ids.map((_, i) => i > lossFrom), isWhole };
    },
  };
}

const take = async (batches: { next(): Promise<TrainingBatch> }, count: number): Promise<TrainingBatch[]> => {
  const taken: TrainingBatch[] = [];
  for (let i = 0; i < count; i++) taken.push(await batches.next());
  return taken;
};

const mixes = fc.record({
  sequence: fc.integer({ min: 1, max: 40 }),
  rowsOfSequence: fc.integer({ min: 1, max: 4 }),
  extraRows: fc.integer({ min: 0, max: 60 }),
  sources: fc.array(
    fc.record({
      lengths: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 }),
      isWhole: fc.boolean(),
      weight: fc.integer({ min: 1, max: 9 }),
    }),
    { minLength: 1, maxLength: 3 },
  ),
});

function open(mix: typeof mixes extends fc.Arbitrary<infer T> ? T : never) {
  const { sequence } = mix;
  const tokensPerBatch = sequence * mix.rowsOfSequence + (mix.extraRows % sequence);
  const maximumRows = Math.ceil(tokensPerBatch / sequence) + mix.extraRows;
  const sources: WeightedSource[] = mix.sources.map(({ lengths, isWhole, weight }, i) => {
    const fitting = lengths.map((length) => Math.min(length, sequence));
    return { source: source(i, fitting, isWhole), weight };
  });
  const paddingId = 999_999_999;
  return {
    tokensPerBatch,
    maximumRows,
    paddingId,
    sources,
    make: () => packedBatches(sources, { tokensPerBatch, sequence, maximumRows, paddingId }),
  };
}

describe("packed batches", () => {
  test("are full, in bounds, and foretell the next id", async () => {
    await fc.assert(
      fc.asyncProperty(mixes, async (mix) => {
        const { tokensPerBatch, maximumRows, paddingId, make } = open(mix);
        for (const { rows, targets } of await take(make(), 6)) {
          expect(rows.reduce((sum, row) => sum + row.length, 0)).toBe(tokensPerBatch);
          expect(targets).toHaveLength(tokensPerBatch);
          expect(rows.length).toBeLessThanOrEqual(maximumRows);
          expect(rows.every((row) => row.length >= 1 && row.length <= mix.sequence)).toBe(true);
          for (const [i, id] of rows.flat().entries()) {
            // Where there is loss, the next id of the same piece is foretold: it counts up by one.
            if (targets[i] !== -1) expect(targets[i]).toBe(id + 1);
            if (id === paddingId) expect(targets[i]).toBe(-1);
          }
          for (const row of rows) {
            if (row[0] !== paddingId) expect(row).toEqual(row.map((_, i) => row[0]! + i)); // one piece a row
          }
        }
      }),
      { numRuns: 150 },
    );
  });

  test("every token of every piece is foretold once, in order", async () => {
    await fc.assert(
      fc.asyncProperty(mixes, async (mix) => {
        const { sources, make } = open(mix);
        const targets = (await take(make(), 12)).flatMap((batch) => batch.targets).filter((target) => target !== -1);
        for (const [i, { source }] of sources.entries()) {
          const own = targets.filter((target) => Math.floor(target / 1_000_000) === i);
          const expected: number[] = [];
          for (let n = 0; expected.length < own.length; n++) expected.push(...(await source.piece(n)).ids.slice(1));
          expect(own).toEqual(expected.slice(0, own.length));
        }
      }),
      { numRuns: 100 },
    );
  });

  test("go on from the place after any batch, which is JSON", async () => {
    await fc.assert(
      fc.asyncProperty(mixes, fc.integer({ min: 0, max: 9 }), async (mix, stop) => {
        const { make } = open(mix);
        const through = await take(make(), 14);
        const first = make();
        await take(first, stop);
        const place: unknown = JSON.parse(JSON.stringify(first.position()));
        const second = make();
        await take(second, 2); // what it did before does not matter
        second.restore(place);
        expect(await take(second, 14 - stop)).toEqual(through.slice(stop));
        expect(first.position()).toEqual(place);
      }),
      { numRuns: 100 },
    );
  });

  test("shares of tokens follow the weights, whatever the lengths", async () => {
    const sources = [
      { source: source(0, [32], false), weight: 0.7 },
      { source: source(1, [3, 5, 4], true), weight: 0.2 },
      { source: source(2, [17, 2], false), weight: 0.1 },
    ];
    const batches = packedBatches(sources, { tokensPerBatch: 128, sequence: 32, maximumRows: 128 });
    await take(batches, 40);
    const tokens = batches.progress().map((one) => one.tokens);
    const total = tokens.reduce((sum, count) => sum + count, 0);
    expect(total).toBe(40 * 128);
    // No source is further behind than the longest piece.
    for (const [i, { weight }] of sources.entries()) expect(Math.abs(tokens[i]! - weight * total)).toBeLessThan(33);
  });

  test("a whole piece waits for room; text fills the batch", async () => {
    const sources = [
      { source: source(0, [7], true), weight: 1 },
      { source: source(1, [20], false), weight: 1 },
    ];
    const batches = packedBatches(sources, { tokensPerBatch: 30, sequence: 20, maximumRows: 30 });
    const [first, second] = await take(batches, 2);
    expect(first!.rows.map((row) => [row[0], row.length])).toEqual([
      [0, 7],
      [1_000_000, 20],
      [1_001_000, 3], // 7 do not fit: text, cut
    ]);
    expect(second!.rows.map((row) => [row[0], row.length])).toEqual([
      [1_001_003, 17], // it goes on
      [1000, 7],
      [1_002_000, 6],
    ]);
  });

  test("alone, a whole piece that does not fit lends its beginning without loss, and comes again", async () => {
    const batches = packedBatches([{ source: source(0, [7], true), weight: 1 }], {
      tokensPerBatch: 10,
      sequence: 8,
      maximumRows: 10,
    });
    const [first, second] = await take(batches, 2);
    expect(first!.rows).toEqual([
      [0, 1, 2, 3, 4, 5, 6],
      [1000, 1001, 1002],
    ]);
    expect(first!.targets).toEqual([1, 2, 3, 4, 5, 6, 7, -1, -1, -1]);
    expect(second!.rows[0]).toEqual([1000, 1001, 1002, 1003, 1004, 1005, 1006]);
  });

  test("pieces without anything to foretell are passed over; a source of such is an error", async () => {
    const some: PieceSource = {
      name: "some",
      piece: async (n) => ({ ids: [n, n, n], loss: [true, n % 2 === 1, false], isWhole: false }),
    };
    const size = { tokensPerBatch: 4, sequence: 2, maximumRows: 4 };
    const batch = await packedBatches([{ source: some, weight: 1 }], size).next();
    expect(batch).toEqual({
      rows: [
        [1, 1],
        [3, 3],
      ],
      targets: [1, -1, 3, -1],
    });
    const none = { name: "none.jsonl", piece: async () => ({ ids: [1, 2], loss: [true, false], isWhole: true }) };
    await expect(packedBatches([{ source: none, weight: 1 }], size).next()).rejects.toThrowErrorMatchingInlineSnapshot(
      `[DataError: none.jsonl: expected something to foretell within 2 tokens, got 10000 pieces without (is "sequence" too short for the answers?)]`,
    );
  });

  test("a batch that fails leaves the place where it was", async () => {
    let isBroken = true;
    const good = source(0, [3], false);
    const flaky: PieceSource = {
      name: "flaky",
      piece: async (n) => {
        if (n === 4 && isBroken) throw new Error("disk");
        return good.piece(n);
      },
    };
    const size = { tokensPerBatch: 8, sequence: 4, maximumRows: 8 };
    const batches = packedBatches([{ source: flaky, weight: 1 }], size);
    await batches.next();
    await expect(batches.next()).rejects.toThrow("disk");
    isBroken = false;
    const expected = await take(packedBatches([{ source: good, weight: 1 }], size), 2);
    expect(await batches.next()).toEqual(expected[1]);
  });

  test("wrong sizes, weights and places are named", () => {
    const weighted = [{ source: source(0, [3], false), weight: 1 }];
    const size = { tokensPerBatch: 8, sequence: 4, maximumRows: 8 };
    const complaint = (work: () => unknown): string => {
      try {
        work();
      } catch (error) {
        return String(error);
      }
      return "no complaint";
    };
    expect([
      complaint(() => packedBatches(weighted, { ...size, sequence: 9 })),
      complaint(() => packedBatches(weighted, { ...size, tokensPerBatch: 0 })),
      complaint(() => packedBatches(weighted, { ...size, maximumRows: 1 })),
      complaint(() => packedBatches([{ ...weighted[0]!, weight: 0 }], size)),
      complaint(() =>
        packedBatches(weighted, size).restore({ version: 1, stream: 7, next: [1], given: [1], cut: null }),
      ),
      complaint(() => packedBatches(weighted, size).restore(undefined)),
    ]).toMatchInlineSnapshot(`
      [
        "RangeError: batches: sequence expected at most tokensPerBatch = 8, got 9.",
        "RangeError: batches: tokensPerBatch expected a whole number above 0, got 0.",
        "RangeError: batches: maximumRows expected at least 2 for 8 tokens in rows of 4, got 1.",
        "RangeError: batches: weights expected above 0, got [0].",
        "DataError: data position: expected a place in this stream of 1 sources, got {"version":1,"stream":7,"next":[1],"given":[1],"cut":null} (other data, weights, sizes or seed than when it was saved?)",
        "DataError: data position: expected a place in this stream of 1 sources, got nothing (other data, weights, sizes or seed than when it was saved?)",
      ]
    `);
  });
});

describe("Permutation", () => {
  test.each([1, 2, 3, 7, 64, 1000, 4097])("of %i is one", (count) => {
    const permutation = new Permutation(count, "a");
    const places = Array.from({ length: count }, (_, i) => permutation.at(i));
    expect([...places].sort((a, b) => a - b)).toEqual(places.map((_, i) => i));
  });

  test("depends on the seed, and is mixed", () => {
    const order = (seed: string) => Array.from({ length: 1000 }, (_, i) => new Permutation(1000, seed).at(i));
    expect(order("a")).toEqual(order("a"));
    expect(order("a")).not.toEqual(order("b"));
    // Neighbours are 333 apart on the mean of a random order, with a standard error of 7.
    const steps = order("c").map((place, i, all) => Math.abs(place - (all[i + 1] ?? place)));
    const mean = steps.reduce((sum, step) => sum + step, 0) / 999;
    expect(Math.abs(mean - 333)).toBeLessThan(40);
  });

  test("of 2^52 stays exact", () => {
    const permutation = new Permutation(2 ** 52, "large");
    for (const place of [0, 1, 2 ** 31, 2 ** 52 - 1]) {
      const value = permutation.at(place);
      expect(Number.isSafeInteger(value) && value >= 0 && value < 2 ** 52).toBe(true);
    }
    expect(() => new Permutation(0, "a")).toThrow(RangeError);
    expect(() => permutation.at(-1)).toThrow(RangeError);
  });
});
