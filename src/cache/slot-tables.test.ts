import { describe, expect, test } from "vitest";
import { devices } from "../../test/devices.js";
import type { PackedFormat, SideFormat } from "../ops/index.js";
import { PoolError } from "./pool-error.js";
import { SlotTables } from "./slot-tables.js";

const side: SideFormat = { bits: 2, layout: "token", group: 16, quantiser: "min", clip: 1, norm: false };
const format = (layout: "token" | "channel", recent = 3, sinks = 2): PackedFormat => ({
  ...{ kvHeads: 1, headDim: 16, keys: { ...side, layout }, values: side, ropeAtRead: false, keyRotation: 0 },
  ...{ valueRotation: 0, ordered: false, meanPairs: 0, sinks, recent, marked: 0, strictPrefill: false },
});

describe.each(await devices())("slot tables on $label", (device) => {
  const blocksOf = async (tables: SlotTables, slot: number, count: number) => {
    const perSlot = tables.blocks!.shape[1]!;
    const data = await tables.blocks!.read();
    return Array.from({ length: count }, (_, m) => [
      ...data.subarray((slot * perSlot + m) * 2, (slot * perSlot + m) * 2 + 2),
    ]);
  };
  const cutOf = async (tables: SlotTables, slot: number) => [
    ...(await tables.cuts.read()).subarray(2 * slot, 2 * slot + 2),
  ];

  test("a cut inside a packed block freezes it, and blocks go on behind it", async () => {
    using tables = new SlotTables(device, format("channel"), 2, 4);
    tables.reserved(1, 128);
    expect(await cutOf(tables, 1)).toEqual([0, -2]);
    expect(await blocksOf(tables, 1, 3)).toEqual([
      [2, 16],
      [18, 16],
      [34, 16],
    ]);
    // 60 tokens: 2 sinks, blocks from 2, 18, 34 (to 50), and 10 not packed.
    expect(tables.packedEnd(1, 60)).toBe(50);
    expect(tables.tokenSlots(1, 60)).toBe(48);
    tables.trim(1, 60, 55); // nothing packed is lost
    expect(await cutOf(tables, 1)).toEqual([0, -2]);
    tables.trim(1, 55, 25); // 7 tokens into the second block
    expect(await cutOf(tables, 1)).toEqual([25, 7]);
    expect(await blocksOf(tables, 1, 4)).toEqual([
      [2, 16],
      [18, 7],
      [25, 16],
      [41, 16],
    ]);
    expect(tables.packedEnd(1, 30)).toBe(25);
    expect(tables.packedEnd(1, 44)).toBe(41);
    expect(tables.tokenSlots(1, 44)).toBe(48);
    tables.trim(1, 44, 20); // into the frozen block
    expect(await cutOf(tables, 1)).toEqual([20, 12]);
    expect(await blocksOf(tables, 1, 3)).toEqual([
      [2, 16],
      [18, 2],
      [20, 16],
    ]);
    tables.trim(1, 60, 18); // where a block ends: none is frozen
    expect(await cutOf(tables, 1)).toEqual([18, -2]);
    expect(await blocksOf(tables, 1, 2)).toEqual([
      [2, 16],
      [18, 16],
    ]);
    const snapshot = tables.snapshot(1);
    tables.trim(1, 60, 1);
    expect(await cutOf(tables, 1)).toEqual([0, -2]);
    tables.restore(1, snapshot);
    expect(await cutOf(tables, 1)).toEqual([18, -2]);
    // The other slot is as it was, and rooms are filled when pages come.
    expect(await cutOf(tables, 0)).toEqual([0, -2]);
    tables.reserved(1, 256);
    expect((await blocksOf(tables, 1, 16)).at(-1)).toEqual([242, 16]);
    expect(() => {
      for (let i = 0; i < 40; i++) tables.trim(1, 10_000, 60 + i);
      for (let i = 0; i < 40; i++) tables.trim(1, 10_000, 10_000 - 17 * i);
    }).toThrow(PoolError);
  });

  test("by tokens a cut only moves the floor", async () => {
    using tables = new SlotTables(device, format("token"), 1, 2);
    expect(tables.blocks).toBeUndefined();
    expect(tables.packedEnd(0, 20)).toBe(17);
    tables.trim(0, 20, 18);
    expect(await cutOf(tables, 0)).toEqual([0, 0]);
    tables.trim(0, 18, 9);
    expect(await cutOf(tables, 0)).toEqual([9, 0]);
    expect(tables.packedEnd(0, 11)).toBe(9);
    expect(tables.packedEnd(0, 13)).toBe(10);
    tables.open(0);
    expect(await cutOf(tables, 0)).toEqual([0, 0]);
  });

  test("capacity is the most that the room holds", () => {
    for (const layout of ["token", "channel"] as const) {
      for (const [recent, sinks] of [
        [3, 2],
        [0, 0],
      ] as const) {
        using tables = new SlotTables(device, format(layout, recent, sinks), 1, 4);
        tables.reserved(0, 256);
        tables.trim(0, 100, 37);
        const capacity = tables.capacity(0, 256);
        expect(tables.tokenSlots(0, capacity)).toBeLessThanOrEqual(256);
        expect(tables.tokenSlots(0, capacity + 1)).toBeGreaterThan(256);
      }
    }
  });
});
