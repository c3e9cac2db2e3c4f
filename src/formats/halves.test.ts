import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from "./halves.js";

const allCodes = Uint16Array.from({ length: 0x10000 }, (_, code) => code);

/** The value of an f16 code by the standard's formula. */
function f16Reference(code: number): number {
  const sign = code >= 0x8000 ? -1 : 1;
  const exponent = Math.floor(code / 1024) % 32;
  const fraction = code % 1024;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

/** The nearest code of a 16-bit format by search over its finite magnitudes, ties to the even code. */
function nearestReference(value: number, magnitudes: readonly number[], infinity: number, overflow: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= overflow) return sign | infinity;
  let low = 0;
  let high = magnitudes.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((magnitudes[middle] ?? 0) <= size) low = middle;
    else high = middle;
  }
  const below = size - (magnitudes[low] ?? 0);
  const above = (magnitudes[high] ?? 0) - size;
  if (below === above) return sign | (low % 2 === 0 ? low : high);
  return sign | (below < above ? low : high);
}

const bitsOf = (values: Float32Array): number[] => [...new Uint32Array(values.buffer)];
const float32 = fc.integer({ min: 0, max: 0xffffffff }).map((bits) => new Float32Array(Uint32Array.of(bits).buffer));

describe("f16", () => {
  test("all 65,536 codes have the standard's value", () => {
    const got = f16ToF32(allCodes);
    expect(allCodes.filter((code) => !Object.is(got[code], f16Reference(code)))).toHaveLength(0);
  });

  test("all 65,536 codes survive widening and narrowing, NaNs made quiet", () => {
    const back = f32ToF16(f16ToF32(allCodes));
    const isNaNCode = (code: number) => (code & 0x7fff) > 0x7c00;
    expect(allCodes.filter((code) => back[code] !== (isNaNCode(code) ? code | 0x200 : code))).toHaveLength(0);
  });

  test("the middle between neighbours rounds to even, a hair beside it to the nearer", () => {
    const wrong: number[] = [];
    for (let code = 0; code < 0x7c00; code++) {
      const next = code === 0x7bff ? 65536 : f16Reference(code + 1);
      const middle = (f16Reference(code) + next) / 2; // exact: one bit more than f16 has
      const bits = new Uint32Array(Float32Array.of(middle).buffer)[0] ?? 0;
      const around = new Float32Array(Uint32Array.of(bits - 1, bits, bits + 1).buffer);
      const want = [code, code % 2 === 0 ? code : code + 1, code + 1];
      const negative = f32ToF16(around.map((value) => -value));
      if (f32ToF16(around).join() !== want.join()) wrong.push(code);
      if (negative.join() !== want.map((half) => half | 0x8000).join()) wrong.push(-code);
    }
    expect(wrong).toEqual([]);
  });

  test("any float32 narrows to the nearest", () => {
    const magnitudes = Array.from({ length: 0x7c00 }, (_, code) => f16Reference(code)).concat(65536);
    fc.assert(
      fc.property(float32, (value) => {
        const [got] = f32ToF16(value);
        const number = value[0] ?? 0;
        if (Number.isNaN(number)) expect((got ?? 0) & 0x7e00).toBe(0x7e00);
        else expect(got).toBe(nearestReference(number, magnitudes, 0x7c00, 65520));
      }),
      { numRuns: 2000 },
    );
  });

  const edges = [
    { name: "zero", value: 0, code: 0x0000 },
    { name: "minus zero", value: -0, code: 0x8000 },
    { name: "half of the smallest subnormal", value: 2 ** -25, code: 0x0000 },
    { name: "the smallest subnormal", value: 2 ** -24, code: 0x0001 },
    { name: "the smallest normal", value: 2 ** -14, code: 0x0400 },
    { name: "a float32 subnormal", value: 2 ** -149, code: 0x0000 },
    { name: "the largest", value: 65504, code: 0x7bff },
    { name: "just below overflow", value: 65519.99609375, code: 0x7bff },
    { name: "overflow", value: 65520, code: 0x7c00 },
    { name: "infinity", value: Number.NEGATIVE_INFINITY, code: 0xfc00 },
  ];
  test.each(edges)("$name", ({ value, code }) => expect(f32ToF16(Float32Array.of(value))[0]).toBe(code));
});

describe("bf16", () => {
  test("all 65,536 codes are the upper half of their float32", () => {
    const bits = bitsOf(bf16ToF32(allCodes));
    expect(allCodes.filter((code) => bits[code] !== code * 0x10000)).toHaveLength(0);
  });

  test("all 65,536 codes survive, NaNs made quiet", () => {
    const back = f32ToBf16(bf16ToF32(allCodes));
    const isNaNCode = (code: number) => (code & 0x7fff) > 0x7f80;
    expect(allCodes.filter((code) => back[code] !== (isNaNCode(code) ? code | 0x40 : code))).toHaveLength(0);
  });

  test("any float32 narrows to the nearest", () => {
    const value = (code: number) => bf16ToF32(Uint16Array.of(code))[0] ?? 0;
    const magnitudes = Array.from({ length: 0x7f80 }, (_, code) => value(code)).concat(2 ** 128);
    const overflow = (value(0x7f7f) + 2 ** 128) / 2;
    fc.assert(
      fc.property(float32, (values) => {
        const [got] = f32ToBf16(values);
        const number = values[0] ?? 0;
        if (Number.isNaN(number)) expect((got ?? 0) & 0x7fc0).toBe(0x7fc0);
        else expect(got).toBe(nearestReference(number, magnitudes, 0x7f80, overflow));
      }),
      { numRuns: 2000 },
    );
  });

  test("ties go to even, and the largest float32 to infinity", () => {
    const bits = Uint32Array.of(0x3f808000, 0x3f818000, 0x3f808001, 0x7f7fffff, 0x7fffffff, 0x7f800001);
    const got = f32ToBf16(new Float32Array(bits.buffer));
    expect([...got]).toEqual([0x3f80, 0x3f82, 0x3f81, 0x7f80, 0x7fff, 0x7fc0]);
  });
});

test("an output that is too short is an error", () => {
  expect(() => f16ToF32(new Uint16Array(3), new Float32Array(2))).toThrowErrorMatchingInlineSnapshot(
    `[RangeError: f16ToF32: out expected at least 3 elements, got 2]`,
  );
  expect(() => f32ToBf16(new Float32Array(3), new Uint16Array(2))).toThrow(RangeError);
});

test("a given output is filled and returned, from its own offset", () => {
  const room = new Float32Array(4);
  const out = room.subarray(1, 3);
  expect(f16ToF32(Uint16Array.of(0x3c00, 0xc000), out)).toBe(out);
  expect([...room]).toEqual([0, 1, -2, 0]);
});
