import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Arena } from "./arena.js";

/** An arena from 64 that may grow to `limit` in steps of 4096. */
function arenaOf(limit: number, begin = 64, end = 4096): Arena {
  let top = end;
  return new Arena(begin, end, (bytes) => {
    const wanted = Math.ceil((top + bytes) / 4096) * 4096;
    if (wanted > limit) return undefined;
    top = wanted;
    return top;
  });
}

const sizes = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 1000, max: 9000 }));
const steps = fc.array(
  fc.oneof(
    sizes.map((bytes) => ({ bytes })),
    fc.nat().map((pick) => ({ pick })),
  ),
  { maxLength: 200 },
);

describe("Arena", () => {
  test("blocks are aligned, inside, disjoint; counters add up; all merges in the end", () => {
    fc.assert(
      fc.property(steps, (list) => {
        const arena = arenaOf(65536);
        const live: { at: number; bytes: number }[] = [];
        for (const step of list) {
          if ("bytes" in step) {
            const at = arena.allocate(step.bytes);
            if (at === undefined) continue;
            const bytes = Math.max(64, Math.ceil(step.bytes / 64) * 64);
            expect(at % 64).toBe(0);
            expect(at >= 64 && at + bytes <= 65536).toBe(true);
            for (const other of live) expect(at + bytes <= other.at || other.at + other.bytes <= at).toBe(true);
            live.push({ at, bytes });
          } else if (live.length > 0) {
            const [block] = live.splice(step.pick % live.length, 1);
            arena.release(block!.at);
          }
          const sum = live.reduce((total, block) => total + block.bytes, 0);
          expect(arena.use.live).toBe(sum);
          expect(arena.use.peak).toBeGreaterThanOrEqual(sum);
        }
        for (const { at } of live) arena.release(at);
        expect(arena.use.live).toBe(0);
        expect(arena.freeBlocks).toBe(1);
      }),
      { numRuns: 200 },
    );
  });

  test("takes the smallest block that fits, and grows only by what the last free block lacks", () => {
    const asked: number[] = [];
    const arena = new Arena(0, 1024, (bytes) => {
      asked.push(bytes);
      return 1024 + bytes;
    });
    const [a, , c] = [arena.allocate(256), arena.allocate(64), arena.allocate(128), arena.allocate(64)];
    arena.release(a!);
    arena.release(c!);
    expect(arena.allocate(100)).toBe(c);
    expect(arena.allocate(768)).toBe(512);
    expect(asked).toEqual([256]);
  });

  test("no room: undefined, and what is there stays usable", () => {
    const arena = arenaOf(8192);
    expect(arena.allocate(10_000)).toBeUndefined();
    expect(arena.allocate(4000)).toBeDefined();
    expect(arena.use.live).toBe(4032);
  });

  test("blocks that the device keeps count as pooled", () => {
    const arena = arenaOf(8192);
    const at = arena.allocate(1000, false);
    expect(arena.use).toMatchObject({ live: 0, peak: 0, pooled: 4032 });
    arena.release(at!);
    expect(arena.freeBlocks).toBe(1);
  });
});
