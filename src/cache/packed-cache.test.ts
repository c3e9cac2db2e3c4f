import { describe, expect, test } from "vitest";
import { devices } from "../../test/devices.js";
import { random, randomArray } from "../../test/kv-batch.js";
import { expectNear } from "../../test/near.js";
import type { Device } from "../device/index.js";
import { buildStep } from "../nn/index.js";
import { type RopeTable, ropeFrequencies, ropeTable, type Step } from "../ops/index.js";
import { type Tensor, upload, zeros } from "../tensor/index.js";
import { type KvCalibration, type Sequence, SequencePool, type StateSpec } from "./index.js";
import { PackedReference } from "./packed.reference.js";
import { PackedCache } from "./packed-cache.js";

const HEADS = 4;
const KV_HEADS = 2;
const CHANNELS = 24;
const LAYERS = 2;
const THETA = 100;
const HEAD_DIM = 32;

function calibration(headDim: number): KvCalibration {
  const layers = Array.from({ length: LAYERS }, (_, l) => {
    const mean = randomArray(KV_HEADS * headDim, 90 + l, 1);
    const meanValues = randomArray(KV_HEADS * headDim, 95 + l, 1);
    return { meanAllKeys: Float64Array.from(mean), meanKeys: mean, meanValues, policy: undefined, widths: undefined };
  });
  return { fingerprint: "", tokens: 1, layers };
}

const spec = (headDim: number): StateSpec => ({
  ...{ softmaxLayers: LAYERS, kvHeads: KV_HEADS, headDim, vocabSize: 40, maxPositions: 4096 },
  ...{ lightningLayers: 0, lightningHeads: 0, lightningHeadDim: 0, calibration: calibration(headDim) },
});

/** Software adapters take seconds for what a GPU does in microseconds: few kinds, short sequences. */
const shortKinds: readonly string[] = [
  "normsplit-2:group=16,recent=5,sinks=3",
  "meansplit-2:recent=6",
  "rotatekv-2",
  "akvq-2:recent=8,textLayers=1,marked=3",
];

/** A pool and, for each sequence and layer, the reference; both get the same rows. */
class Pair {
  readonly pool: SequencePool;
  private readonly references = new Map<Sequence, PackedReference[]>();
  private readonly rope: RopeTable;
  private readonly columns: number;
  private seed = 0;

  constructor(
    readonly device: Device,
    kv: string,
    private readonly headDim: number,
    private readonly window?: number,
    maxTokens = 300,
  ) {
    this.pool = new SequencePool(device, spec(headDim), { slots: 3, kv, maxTokens });
    this.rope = ropeTable(device, { rotaryDim: headDim, theta: THETA, maxPositions: 4096 });
    this.columns = (HEADS + 2 * KV_HEADS) * headDim;
  }

  open(): Sequence {
    const sequence = this.pool.open();
    const { window, headDim } = this;
    const rope = ropeFrequencies({ rotaryDim: headDim, theta: THETA });
    const scale = 1 / Math.sqrt(headDim);
    this.references.set(
      sequence,
      this.pool.caches.map((cache) => {
        if (!(cache instanceof PackedCache)) throw new Error("not packed");
        return new PackedReference(cache.recipe, { heads: HEADS, scale, rope, ...(window ? { window } : {}) });
      }),
    );
    return sequence;
  }

  /** Keys with a mean, as models have; a token now and then is massive. */
  private draw(tokens: number): { qkv: Float32Array[]; hidden: Float32Array[] } {
    this.seed += 1;
    const next = random(this.seed);
    const mean = randomArray(KV_HEADS * this.headDim, 90, 1);
    const qkv = Array.from({ length: tokens }, () => {
      const row = Float32Array.from({ length: this.columns }, () => 1.5 * next());
      const first = HEADS * this.headDim;
      for (const [c, value] of mean.entries()) row[first + c]! += value;
      return row;
    });
    const hidden = Array.from({ length: tokens }, () => {
      const factor = next() > 0.8 ? 40 : 1;
      return Float32Array.from({ length: CHANNELS }, () => factor * next());
    });
    return { qkv, hidden };
  }

  private launch(layer: number, qkv: Tensor, hidden: Tensor, step: Step): Tensor {
    const cache = this.pool.caches[layer]!;
    cache.append(qkv, { heads: HEADS, rope: this.rope, hidden }, step);
    return cache.attend(qkv, { heads: HEADS, scale: 1 / Math.sqrt(this.headDim), window: this.window }, step);
  }

  /** A code may fall on the other side where float32 and float64 differ: rare, and 1e-3 of the result; a wrong token is more. */
  private compare(out: Float32Array, expected: Float64Array[][]): void {
    expectNear(out, Float64Array.from(expected.flat().flatMap((row) => [...row])), { relativeRms: 2e-3 });
  }

  /** One step over rows of any length. */
  async step(rows: readonly (readonly [Sequence, number])[]): Promise<Float32Array[]> {
    const outputs: Float32Array[] = [];
    for (const [sequence, count] of rows) sequence.reserve(sequence.length + count);
    for (let layer = 0; layer < LAYERS; layer++) {
      const drawn = rows.map(([, count]) => this.draw(count));
      using step = buildStep(
        this.device,
        rows.map(([{ slot, length }, count]) => ({ slot, past: length, ids: new Array<number>(count).fill(1) })),
      );
      const flat = (which: "qkv" | "hidden") =>
        Float32Array.from(drawn.flatMap((d) => d[which].flatMap((r) => [...r])));
      using qkv = upload(this.device, flat("qkv"), [step.tokenCount, this.columns]);
      using hidden = upload(this.device, flat("hidden"), [step.tokenCount, CHANNELS]);
      using out = this.launch(layer, qkv, hidden, step);
      const values = await out.readFloat32();
      outputs.push(values);
      const expected = rows.map(([sequence], r) =>
        this.references.get(sequence)![layer]!.step(drawn[r]!.qkv, drawn[r]!.hidden, step.isDecode),
      );
      this.compare(values, expected);
    }
    for (const [sequence, count] of rows) sequence.length += count;
    return outputs;
  }

  /** Decode steps of all sequences, captured once and replayed. */
  async replay(sequences: readonly Sequence[], steps: number): Promise<void> {
    const { device } = this;
    for (const sequence of sequences) sequence.reserve(sequence.length + steps);
    // A row to spare is dead.
    const size = sequences.length + 1;
    const lengthBound = Math.max(...sequences.map(({ length }) => length)) + steps;
    using qkv = zeros(device, [size, this.columns]);
    using hidden = zeros(device, [size, CHANNELS]);
    using built = buildStep(device, [
      ...sequences.map(({ slot, length }) => ({ slot, past: length, ids: [1] })),
      { slot: -1, past: 0, ids: [1] },
    ]);
    const step = { ...built, lengthBound };
    for (let layer = 0; layer < LAYERS; layer++) {
      let out: Tensor | undefined;
      using list = device.capture(() => {
        out = this.launch(layer, qkv, hidden, step);
      });
      if (!out) throw new Error("no output");
      const counters = () =>
        device.kind === "webgpu" ? [device.counters.buffers, device.counters.bindGroups] : [device.memory.blocksMade];
      let before: ReturnType<typeof counters> | undefined;
      for (let i = 0; i < steps; i++) {
        const drawn = sequences.map(() => this.draw(1));
        const flat = (which: "qkv" | "hidden", width: number) =>
          Float32Array.from([...drawn.flatMap((d) => [...d[which][0]!]), ...new Array<number>(width).fill(9)]);
        qkv.write(flat("qkv", this.columns));
        hidden.write(flat("hidden", CHANNELS));
        const words = [...sequences, { slot: -1, length: 0 }].map(({ slot, length }, r) => ({
          token: [1, length + i, r, slot],
          row: [r, 1, slot, length + i],
        }));
        step.tokens.write(Int32Array.from(words.flatMap(({ token }) => token)));
        step.rows.write(Int32Array.from(words.flatMap(({ row }) => row)));
        list.replay();
        const values = (await out.readFloat32()).subarray(0, sequences.length * HEADS * this.headDim);
        const expected = sequences.map((sequence, r) =>
          this.references.get(sequence)![layer]!.step(drawn[r]!.qkv, drawn[r]!.hidden, true),
        );
        this.compare(values, expected);
        if (i === 1) before = counters();
        else if (before) {
          expect(counters()).toEqual(before);
        }
      }
      out.dispose();
    }
    for (const sequence of sequences) sequence.length += steps;
  }

  trim(sequence: Sequence, length: number): void {
    sequence.trim(length);
    for (const reference of this.references.get(sequence) ?? []) reference.trim(length);
  }

  dispose(): void {
    this.pool.dispose();
    this.rope.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

const kinds = [
  "int8",
  "int4:recent=3,sinks=2",
  "rtn-2:group=16",
  "rtn-3:strictPrefill=true",
  "kivi-2:group=16,valueGroup=16,recent=7",
  "normsplit-2:group=16,recent=5,sinks=3",
  "normsplit-3:group=32,recent=0,sinks=0,keyBits=4/3",
  "normsplit-2:group=16,recent=4,strictPrefill=true",
  "meansplit-2:recent=6",
  "meansplit-2:recent=6,unbiased=false,valueMean=false",
  "meansplit-3:recent=0,sinks=0,meanPairs=3",
  "rotatekv-2",
  "rotatekv-3:reorder=block,heads=1",
  "rotatekv-4:sinks=3,recent=5",
  "rotatekv-2:beforeRope=false,marked=4",
  "rotatekv-3:strictPrefill=true,marked=2",
  "akvq-2:recent=8,textLayers=1,marked=3",
] as const;

describe.each(await devices())("packed caches on $label", (device) => {
  test.each(device.isSoftware ? [] : kinds)(
    "%s: as the slow reference, through chunks, replays, cuts and restores",
    { timeout: 120_000 },
    async (kv) => {
      const live = device.memory.live;
      {
        using pair = new Pair(device, kv, HEAD_DIM);
        const a = pair.open();
        const b = pair.open();
        await pair.step([
          [a, 23],
          [b, 1],
        ]);
        await pair.replay([a, b], 4);
        await pair.step([
          [b, 2],
          [a, 33],
        ]);
        // Into a packed block, and on.
        pair.trim(a, 29);
        await pair.step([
          [a, 1],
          [b, 1],
        ]);
        await pair.step([[a, 40]]);
        // Into a short block, then into the first tokens, then to nothing.
        pair.trim(a, 28);
        await pair.step([[a, 21]]);
        await pair.replay([b, a], 3);
        pair.trim(a, 2);
        await pair.step([[a, 19]]);
        pair.trim(a, 0);
        await pair.step([[a, 5]]);
        b.close();
        const c = pair.open();
        await pair.step([[c, 3]]);
      }
      expect(device.memory.live).toBe(live);
    },
  );

  test.runIf(device.isSoftware).each(shortKinds)(
    "%s: as the slow reference, through a chunk, replays and a cut",
    { timeout: 180_000 },
    async (kv) => {
      const live = device.memory.live;
      {
        using pair = new Pair(device, kv, 16);
        const a = pair.open();
        await pair.step([[a, 28]]);
        await pair.replay([a], 3);
        pair.trim(a, 11);
        await pair.step([[a, 17]]);
      }
      expect(device.memory.live).toBe(live);
    },
  );

  test.skipIf(device.isSoftware).each([
    ["int4:group=16", 20],
    ["normsplit-2:group=16,recent=2", 12],
    ["meansplit-2:recent=6", 80],
    ["rotatekv-2", 24],
  ] as const)("%s with %i channels and a window", { timeout: 60_000 }, async (kv, headDim) => {
    using pair = new Pair(device, kv, headDim, 9);
    const a = pair.open();
    await pair.step([[a, 30]]);
    await pair.replay([a], 3);
    await pair.step([[a, 7]]);
  });

  test
    .skipIf(device.isSoftware)
    .each(["int4", "normsplit-2:group=16,recent=5", "kivi-2:group=16,recent=3", "meansplit-2:recent=6"])(
    "%s: chunks leave behind what one prompt does, to the bit",
    async (kv) => {
      using pool = new SequencePool(device, spec(HEAD_DIM), { slots: 2, kv, maxTokens: 200 });
      using rope = ropeTable(device, { rotaryDim: HEAD_DIM, theta: THETA, maxPositions: 200 });
      const columns = (HEADS + 2 * KV_HEADS) * HEAD_DIM;
      const total = 61;
      const rows = randomArray(total * columns, 5);
      const cache = pool.caches[0]!;
      const results: Float32Array[] = [];
      for (const chunks of [[60], [1, 7, 20, 32]]) {
        using sequence = pool.open();
        sequence.reserve(total);
        for (const count of [...chunks, 1]) {
          const past = sequence.length;
          using step = buildStep(device, [{ slot: sequence.slot, past, ids: new Array<number>(count).fill(1) }]);
          using qkv = upload(device, rows.slice(past * columns, (past + count) * columns), [count, columns]);
          cache.append(qkv, { heads: HEADS, rope }, step);
          using out = cache.attend(qkv, { heads: HEADS, scale: 0.2 }, step);
          sequence.length += count;
          if (sequence.length === total) results.push(await out.readFloat32());
        }
      }
      expect(results[1]).toEqual(results[0]);
    },
  );

  test.skipIf(device.isSoftware)("a snapshot brings a sequence back to the bit, also after a cut", async () => {
    const kv = "normsplit-2:group=16,recent=5,sinks=2";
    using pool = new SequencePool(device, spec(HEAD_DIM), { slots: 2, kv, maxTokens: 200 });
    using rope = ropeTable(device, { rotaryDim: HEAD_DIM, theta: THETA, maxPositions: 200 });
    const columns = (HEADS + 2 * KV_HEADS) * HEAD_DIM;
    using sequence = pool.open();
    const feed = async (count: number, seed: number) => {
      sequence.reserve(sequence.length + count);
      const ids = new Array<number>(count).fill(1);
      using step = buildStep(device, [{ slot: sequence.slot, past: sequence.length, ids }]);
      using qkv = upload(device, randomArray(count * columns, seed), [count, columns]);
      const cache = pool.caches[1]!;
      cache.append(qkv, { heads: HEADS, rope }, step);
      using out = cache.attend(qkv, { heads: HEADS, scale: 0.2 }, step);
      sequence.length += count;
      return out.readFloat32();
    };
    await feed(50, 1);
    sequence.trim(27);
    await feed(9, 2);
    using snapshot = sequence.snapshot();
    const first = [await feed(30, 3), await feed(1, 4)];
    sequence.restore(snapshot);
    expect(sequence.length).toBe(36);
    expect([await feed(30, 3), await feed(1, 4)]).toEqual(first);
  });

  test.skipIf(device.isSoftware)("keep takes up what append and attend do", async () => {
    using pool = new SequencePool(device, spec(HEAD_DIM), {
      slots: 2,
      kv: "normsplit-2:group=16,recent=5",
      maxTokens: 200,
    });
    const columns = (HEADS + 2 * KV_HEADS) * HEAD_DIM;
    const cache = pool.caches[0]!;
    const results: Float32Array[] = [];
    for (const isKept of [true, false]) {
      using sequence = pool.open();
      sequence.reserve(41);
      for (const count of [40, 1]) {
        const ids = new Array<number>(count).fill(1);
        using step = buildStep(device, [{ slot: sequence.slot, past: sequence.length, ids }]);
        using qkv = upload(device, randomArray(count * columns, count), [count, columns]);
        if (isKept && count > 1) cache.keep(qkv, { heads: HEADS, rope: undefined }, step);
        else {
          cache.append(qkv, { heads: HEADS, rope: undefined }, step);
          using out = cache.attend(qkv, { heads: HEADS, scale: 0.2 }, step);
          if (count === 1) results.push(await out.readFloat32());
        }
        sequence.length += count;
      }
    }
    expect(results[1]).toEqual(results[0]);
  });

  test("bits are those of the bytes in use", () => {
    using pool = new SequencePool(device, spec(64), { slots: 2, kv: "normsplit-2", maxTokens: 1000 });
    expect(pool.effectiveBits).toBeUndefined();
    using sequence = pool.open();
    sequence.reserve(700);
    sequence.length = 700;
    // 640 tokens are packed (a block of 32 at a time, 32 newest and 4 first aside): five pages of 128. Keys: 2 bits, 32 bits
    // a channel and block, 16 a norm; values: 2 bits, 32 bits for 32 channels. Beside them 68 entries of 16 bits, tables.
    const pages = 5 * 128 * (2 + 32 / 32 + 16 / 64 + 2 + 32 / 32);
    const side = 68 * 2 * 16;
    const tables = (8 * (8 + 8 * 20)) / (KV_HEADS * 64 * LAYERS);
    expect(pool.effectiveBits).toBeCloseTo((pages + side + tables) / (2 * 700), 10);
  });
});
