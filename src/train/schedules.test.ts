import { describe, expect, test } from "vitest";
import { type Schedule, scheduleShare } from "./schedules.js";

const over = (schedule: Schedule, steps: number) =>
  Array.from({ length: steps }, (_, step) => Number(scheduleShare(schedule, step, steps).toFixed(4)));

describe("schedules", () => {
  test("constant after warm-up", () => {
    expect(over({ kind: "constant", warmupSteps: 4 }, 7)).toEqual([0.25, 0.5, 0.75, 1, 1, 1, 1]);
    expect(over({ kind: "constant" }, 2)).toEqual([1, 1]);
  });

  test("cosine ends at its final share", () => {
    expect(over({ kind: "cosine", final: 0 }, 5)).toEqual([1, 0.8536, 0.5, 0.1464, 0]);
    expect(over({ kind: "cosine", warmupSteps: 2 }, 5)).toEqual([0.5, 1, 1, 0.55, 0.1]);
    expect(scheduleShare({ kind: "cosine" }, 100, 5)).toBeCloseTo(0.1, 12);
  });

  test("warm-up, stable, decay", () => {
    expect(over({ kind: "wsd", warmupSteps: 2, decaySteps: 3 }, 8)).toEqual([0.5, 1, 1, 1, 1, 1, 0.5, 0]);
    expect(scheduleShare({ kind: "wsd", decaySteps: 3, final: 0.2 }, 7, 8)).toBeCloseTo(0.2, 12);
  });

  test("a training that is shorter than its warm-up and a decay longer than the training", () => {
    expect(over({ kind: "cosine", warmupSteps: 4 }, 2)).toEqual([0.25, 0.5]);
    expect(over({ kind: "wsd", decaySteps: 10 }, 3)).toEqual([1, 0.5, 0]);
    expect(over({ kind: "cosine" }, 1)).toEqual([0.1]);
  });

  test("shares lie between 0 and 1 and never rise after the warm-up", () => {
    for (const schedule of [
      { kind: "cosine", warmupSteps: 7, final: 0.05 },
      { kind: "wsd", warmupSteps: 7, decaySteps: 20 },
    ] as const) {
      const shares = over(schedule, 50);
      for (const [i, share] of shares.entries()) {
        expect(share).toBeGreaterThanOrEqual(0);
        expect(share).toBeLessThanOrEqual(1);
        if (i > 7) expect(share).toBeLessThanOrEqual(shares[i - 1] as number);
      }
    }
  });
});
