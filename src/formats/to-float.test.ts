import { describe, expect, test } from "vitest";
import { toFloat32, toFloat64 } from "./to-float.js";

const bytesOf = (array: ArrayBufferView): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

const cases = [
  { dtype: "F64", data: Float64Array.of(0.1, -2, Number.NaN), want: [0.1, -2, Number.NaN] },
  { dtype: "F32", data: Float32Array.of(0.5, -0, 3e38), want: [0.5, -0, Math.fround(3e38)] },
  { dtype: "F16", data: Uint16Array.of(0x3c00, 0x0001, 0xfc00), want: [1, 2 ** -24, Number.NEGATIVE_INFINITY] },
  { dtype: "BF16", data: Uint16Array.of(0x3f80, 0xc040), want: [1, -3] },
  { dtype: "I64", data: BigInt64Array.of(-(2n ** 40n), 7n), want: [-(2 ** 40), 7] },
  { dtype: "U64", data: BigUint64Array.of(2n ** 63n), want: [2 ** 63] },
  { dtype: "I32", data: Int32Array.of(-5, 2 ** 30), want: [-5, 2 ** 30] },
  { dtype: "U32", data: Uint32Array.of(2 ** 31), want: [2 ** 31] },
  { dtype: "I16", data: Int16Array.of(-300), want: [-300] },
  { dtype: "U16", data: Uint16Array.of(65535), want: [65535] },
  { dtype: "I8", data: Int8Array.of(-128, 127), want: [-128, 127] },
  { dtype: "U8", data: Uint8Array.of(255), want: [255] },
  { dtype: "BOOL", data: Uint8Array.of(0, 1), want: [0, 1] },
  {
    dtype: "F8_E4M3",
    data: Uint8Array.of(0x38, 0x7e, 0x7f, 0x01, 0xc0, 0x08),
    want: [1, 448, Number.NaN, 2 ** -9, -2, 2 ** -6],
  },
  {
    dtype: "F8_E5M2",
    data: Uint8Array.of(0x3c, 0x7b, 0x7c, 0x01),
    want: [1, 57344, Number.POSITIVE_INFINITY, 2 ** -16],
  },
] as const;

describe.each(cases)("$dtype", ({ dtype, data, want }) => {
  test("float64 and float32", () => {
    expect([...toFloat64(dtype, bytesOf(data))]).toEqual([...want]);
    expect([...toFloat32(dtype, bytesOf(data))]).toEqual(want.map(Math.fround));
  });

  test("at an odd offset", () => {
    const room = new Uint8Array(data.byteLength + 1);
    room.set(bytesOf(data), 1);
    expect([...toFloat64(dtype, room.subarray(1))]).toEqual([...want]);
  });
});

test("bytes that are no whole number of elements are an error", () => {
  expect(() => toFloat32("F32", new Uint8Array(6))).toThrowErrorMatchingInlineSnapshot(
    `[RangeError: F32: bytes expected a multiple of 4, got 6]`,
  );
});
