import { expect, test } from "vitest";
import { expectNear, maxAbs, relativeRms } from "./near.js";

test("distances", () => {
  expect(maxAbs([1, 2, 5], [1, 2.5, 4])).toBe(1);
  expect(relativeRms([3, 4.5], [3, 4])).toBe(0.1);
  expect(relativeRms([3, 4], [0, 0])).toBe(5);
  expect(maxAbs([1, Number.NaN], [1, 2])).toBeNaN();
});

test("an expectation that fails names the worst place", () => {
  expectNear(Float32Array.of(1, 2), [1, 2.25], { absolute: 0.25, relativeRms: 0.11 });
  expectNear([Number.NaN, Infinity], [Number.NaN, Infinity], { absolute: 0, relativeRms: 0 });
  expect(() => expectNear([1, 2, 3], [1, 2.5, 3], { absolute: 0.25 })).toThrow(
    "largest error 0.5 > 0.25; worst at index 1 of 3: got 2, expected 2.5",
  );
  expect(() => expectNear([0, Number.NaN], [0, 1], { relativeRms: 1 })).toThrow("got NaN, expected 1");
  expect(() => expectNear([1], [1, 2], { absolute: 1 })).toThrow("lengths differ");
});
