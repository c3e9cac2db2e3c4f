import { describe, expect, test } from "vitest";
import { Random } from "./random.js";

describe("Random", () => {
  test("xoshiro128** from the state 1, 2, 3, 4", () => {
    // Worked out apart from this code, from the definition in whole numbers of any size.
    const random = Random.resume([1, 2, 3, 4]);
    expect(Array.from({ length: 6 }, () => random.uint32())).toEqual([
      11520, 0, 5927040, 70819200, 2031721883, 1637235492,
    ]);
  });

  test("the sequence of a seed never changes", () => {
    const random = new Random("fulgur");
    expect(Array.from({ length: 4 }, () => random.uint32())).toMatchInlineSnapshot(`
      [
        989524359,
        4265639503,
        3532988463,
        44155093,
      ]
    `);
  });

  test("resume goes on where the state was taken", () => {
    const random = new Random(7);
    for (let i = 0; i < 10; i++) random.uint32();
    const copy = Random.resume(random.state);
    expect(Array.from({ length: 20 }, () => copy.uint32())).toEqual(Array.from({ length: 20 }, () => random.uint32()));
    expect(() => Random.resume([0, 0, 0, 0])).toThrow(/not all 0/);
  });

  test("int reaches both ends about equally often", () => {
    const random = new Random("int");
    const counts = new Array<number>(6).fill(0);
    for (let i = 0; i < 6000; i++) counts[random.int(1, 6) - 1]!++;
    // Binomial: mean 1000, standard deviation 29; five of them.
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(145);
    expect(random.int(5, 5)).toBe(5);
    expect(() => random.int(2, 1)).toThrow(/lo <= hi/);
  });

  test("float stays in [0, 1) with mean one half", () => {
    const random = new Random("float");
    const values = Array.from({ length: 10_000 }, () => random.float());
    expect(values.every((x) => x >= 0 && x < 1)).toBe(true);
    // Standard deviation of the mean: 1/√(12·10000) = 0.0029; five of them.
    expect(Math.abs(values.reduce((a, b) => a + b) / 10_000 - 0.5)).toBeLessThan(0.0145);
  });

  test("sample gives different places, each equally often; among limits them", () => {
    const random = new Random("sample");
    const items = Array.from({ length: 10 }, (_, i) => i);
    const counts = new Array<number>(10).fill(0);
    for (let i = 0; i < 5000; i++) {
      const drawn = random.sample(items, 3, 5);
      expect(new Set(drawn).size).toBe(3);
      for (const x of drawn) counts[x]!++;
    }
    // Mean 3000, standard deviation 35; five of them.
    for (const count of counts.slice(0, 5)) expect(Math.abs(count - 3000)).toBeLessThan(175);
    expect(counts.slice(5)).toEqual([0, 0, 0, 0, 0]);
    expect([...random.sample(items, 10)].sort((a, b) => a - b)).toEqual(items);
    expect(() => random.sample(items, 11)).toThrow(/at least 11/);
  });

  test("shuffle keeps the items, weighted keeps the proportions", () => {
    const random = new Random("shuffle");
    expect(random.shuffle([1, 2, 3, 4, 5]).sort()).toEqual([1, 2, 3, 4, 5]);
    const counts = { a: 0, b: 0, c: 0 };
    for (let i = 0; i < 4000; i++) counts[random.weighted(["a", "b", "c"] as const, [1, 0, 3])]++;
    expect(counts.b).toBe(0);
    // Mean 1000, standard deviation 27; five of them.
    expect(Math.abs(counts.a - 1000)).toBeLessThan(137);
    expect(() => random.weighted(["a"], [0])).toThrow(/sum above 0/);
  });

  test("digits", () => {
    const random = new Random("digits");
    const values = Array.from({ length: 500 }, () => random.digits(1, 3));
    expect(new Set(values.map((x) => String(x).length))).toEqual(new Set([1, 2, 3]));
  });
});
