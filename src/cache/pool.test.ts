import { describe, expect, test } from "vitest";
import { devices } from "../../test/devices.js";
import { PAGE_TOKENS } from "../ops/index.js";
import { cacheKind, PoolError, SequencePool, type StateSpec } from "./index.js";

const softmax: StateSpec = {
  softmaxLayers: 2,
  kvHeads: 1,
  headDim: 8,
  lightningLayers: 0,
  lightningHeads: 0,
  lightningHeadDim: 0,
  vocabSize: 40,
  maxPositions: 100_000,
};
const hybrid: StateSpec = { ...softmax, softmaxLayers: 1, lightningLayers: 2, lightningHeads: 2, lightningHeadDim: 4 };

describe.each(await devices())("the pool on $label", (device) => {
  test("hands out slots and pages, takes them back, and frees everything", async () => {
    const liveBefore = device.memory.live;
    {
      using pool = new SequencePool(device, softmax, { slots: 2, maxTokens: 1000 });
      const a = pool.open();
      const b = pool.open();
      expect(() => pool.open()).toThrowErrorMatchingInlineSnapshot(
        `[PoolError: all 2 sequences of the pool are in use]`,
      );
      a.reserve(PAGE_TOKENS + 1);
      b.reserve(1);
      expect(a.capacity).toBe(2 * PAGE_TOKENS);
      const table = await pool.pageTable.read();
      const perSlot = pool.pageTable.shape[1] as number;
      const pagesOf = (slot: number) => [...table.subarray(slot * perSlot, (slot + 1) * perSlot)].filter((p) => p >= 0);
      expect(pagesOf(a.slot)).toHaveLength(2);
      expect(pagesOf(b.slot)).toHaveLength(1);
      expect(new Set([...pagesOf(a.slot), ...pagesOf(b.slot)]).size).toBe(3);
      expect(() => a.reserve(1001)).toThrow(PoolError);
      a.close();
      a.close();
      expect(pool.free).toBe(1);
    }
    expect(device.memory.live).toBe(liveBefore);
  });

  test("grows by segments that copy nothing", () => {
    using pool = new SequencePool(device, softmax, { slots: 1 });
    using sequence = pool.open();
    const segments: number[] = [];
    for (const tokens of [1, 32 * PAGE_TOKENS, 32 * PAGE_TOKENS + 1, 100 * PAGE_TOKENS]) {
      sequence.reserve(tokens);
      segments.push(pool.generation);
    }
    expect(segments).toEqual([1, 1, 2, 3]);
    expect(pool.bytes).toBe(128 * 2 * 2 * PAGE_TOKENS * 8 * 4);
  });

  test("a lightning state comes back from a snapshot and cannot be cut", async () => {
    using pool = new SequencePool(device, hybrid, { slots: 2 });
    using _first = pool.open();
    using sequence = pool.open();
    const [state] = pool.states;
    if (!state) throw new Error("no state");
    const values = Float32Array.from({ length: state.size }, (_, i) => i);
    state.write(values);
    sequence.length = 9;
    using snapshot = sequence.snapshot();
    state.write(new Float32Array(state.size).fill(-1));
    sequence.length = 20;
    expect(() => sequence.trim(9)).toThrowErrorMatchingInlineSnapshot(
      `[PoolError: a lightning state cannot be cut from 20 to 9 tokens: restore a snapshot]`,
    );
    sequence.restore(snapshot);
    expect(sequence.length).toBe(9);
    const size = state.size / 2;
    const got = await state.readFloat32();
    expect(got.subarray(sequence.slot * size, (sequence.slot + 1) * size)).toEqual(
      values.subarray(sequence.slot * size, (sequence.slot + 1) * size),
    );
    // The other slot was not touched.
    expect(got[(1 - sequence.slot) * size]).toBe(-1);
  });

  test("a new sequence starts from a clear state", async () => {
    using pool = new SequencePool(device, hybrid, { slots: 1 });
    pool.states[0]?.write(new Float32Array(32).fill(3));
    using _sequence = pool.open();
    expect(await pool.states[0]?.readFloat32()).toEqual(new Float32Array(32));
  });
});

test("an unknown cache kind is named", () => {
  expect(() => cacheKind("f8")).toThrowErrorMatchingInlineSnapshot(
    `[RangeError: unknown cache kind "f8": expected one of f32, f16, bf16, int8, int4, rtn-2, rtn-3, rtn-4, kivi-2, kivi-3, kivi-4, rotatekv-2, rotatekv-3, rotatekv-4, akvq-2, normsplit-2, normsplit-3, meansplit-2, meansplit-3, 2bit]`,
  );
});
