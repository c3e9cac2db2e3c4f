import { describe, expect, test } from "vitest";
import { fill } from "../../../test/fill.js";
import { weightCodecs } from "../../ops/index.js";
import { feedbackFactor } from "./feedback-factor.js";
import { hessianNorm, hessianOf, type Moments } from "./hessian.js";
import { polishInt4 } from "./polish-int4.js";
import { type Int4Rows, roundInt4 } from "./round-int4.js";

const options = { group: 32, roundScale: Math.fround };

/** Moments of n inputs whose columns depend on each other, as those of real layers do. */
function momentsOf(size: number, n: number, stream: number): Moments {
  const noise = fill(n * size, stream);
  const common = fill(n, stream + 1);
  const sum = new Float64Array(size * size);
  for (let t = 0; t < n; t++) {
    const x = Array.from(
      { length: size },
      (_, c) => noise[t * size + c]! * (1 + (c % 5)) + 2 * common[t]! * ((c % 3) - 1),
    );
    for (let i = 0; i < size; i++)
      for (let k = 0; k < size; k++) sum[i * size + k] = sum[i * size + k]! + x[i]! * x[k]!;
  }
  return { sum, size, count: n };
}

function errorsOf(values: Float32Array, rows: number, { codes, scales }: Int4Rows, group = 32): Float64Array {
  const C = values.length / rows;
  const groups = Math.ceil(C / group);
  return Float64Array.from(values, (value, i) => {
    const scale = scales[Math.floor(i / C) * groups + Math.floor((i % C) / group)]!;
    return value - scale * codes[i]!;
  });
}

function plainErrors(values: Float32Array, rows: number): Float64Array {
  const C = values.length / rows;
  const { encode, decode } = weightCodecs.int4;
  const decoded = decode(encode(values, rows, C, 32), rows, C, 32);
  return Float64Array.from(values, (value, i) => value - decoded[i]!);
}

const identity = (size: number) => Float64Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0));

describe("feedbackFactor", () => {
  test("H = (I + U) D (I + U)ᵀ", () => {
    const size = 9;
    const hessian = hessianOf(momentsOf(size, 20, 1));
    const { feedback, cost } = feedbackFactor(hessian, size);
    const upper = (i: number, c: number) => (i === c ? 1 : i < c ? feedback[c * size + i]! : 0);
    for (let i = 0; i < size; i++) {
      for (let k = 0; k < size; k++) {
        let sum = 0;
        for (let c = 0; c < size; c++) sum += upper(i, c) * cost[c]! * upper(k, c);
        expect(sum).toBeCloseTo(hessian[i * size + k]!, 9);
      }
    }
  });

  test("says where a matrix is not positive definite", () => {
    expect(() => feedbackFactor(Float64Array.of(1, 1, 1, 1), 2)).toThrow("not positive definite at column 0");
  });
});

describe("hessianOf", () => {
  const own: Moments = { sum: Float64Array.of(4, 1, 1, 2), size: 2, count: 8 };

  test("adds 1 % of the mean diagonal", () => {
    expect([...hessianOf(own)]).toEqual([4.03, 1, 1, 2.03]);
  });

  test("mixes in as many inputs of the prior as there are columns", () => {
    const prior: Moments = { sum: Float64Array.of(10, 0, 0, 20), size: 2, count: 20 };
    expect([...hessianOf(own, { prior, damping: 0 })]).toEqual([5, 1, 1, 4]);
  });

  test("an expert that saw nothing is rounded plainly", () => {
    expect(hessianOf({ sum: new Float64Array(9), size: 3, count: 0 })).toEqual(identity(3));
  });
});

describe("rounding by moments", () => {
  test.each([
    { rows: 6, C: 64 },
    { rows: 3, C: 70 },
    { rows: 1, C: 5 },
  ])(
    "[$rows, $C]: a smaller error of the products than plain rounding, and smaller still when polished",
    ({ rows, C }) => {
      const values = fill(rows * C, 3);
      const hessian = hessianOf(momentsOf(C, 3 * C, 5));
      const norm = (errors: Float64Array) => hessianNorm(errors, hessian, C);
      const rounded = roundInt4(values, rows, feedbackFactor(hessian, C), options);
      const before = norm(errorsOf(values, rows, rounded));
      expect(before).toBeLessThan(norm(plainErrors(values, rows)));
      polishInt4(values, rows, hessian, rounded, options);
      expect(norm(errorsOf(values, rows, rounded))).toBeLessThanOrEqual(before * (1 + 1e-9));
    },
  );

  test("with inputs that do not depend on each other it is plain rounding", () => {
    const values = fill(4 * 64, 7);
    const rounded = roundInt4(values, 4, feedbackFactor(identity(64), 64), options);
    const errors = errorsOf(values, 4, rounded);
    for (const [i, error] of plainErrors(values, 4).entries()) expect(errors[i]).toBeCloseTo(error, 6);
  });

  test("values on a grid come back exactly", () => {
    const values = Float32Array.from({ length: 2 * 64 }, (_, k) => 0.25 * (((k * 7) % 16) - 8));
    const hessian = hessianOf(momentsOf(64, 200, 9));
    const rounded = roundInt4(values, 2, feedbackFactor(hessian, 64), options);
    polishInt4(values, 2, hessian, rounded, options);
    expect(errorsOf(values, 2, rounded).every((error) => error === 0)).toBe(true);
  });

  test("zeros stay zeros", () => {
    const hessian = hessianOf(momentsOf(32, 100, 11));
    const { codes, scales } = roundInt4(new Float32Array(32), 1, feedbackFactor(hessian, 32), options);
    expect([...codes, ...scales].every((value) => value === 0)).toBe(true);
  });
});
