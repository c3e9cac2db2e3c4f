import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { devices } from "../../../../test/devices.js";
import { bfloatBits, bfloatValue } from "./bf16.js";
import { createWeightMatrix, receiveRows, weightBytes, weightCodecs, weightFromFloat32, writeRows } from "./create.js";
import { halfBits, halfValue } from "./f16.js";
import { int4Codec, nibbleAt } from "./int4.js";
import { int8Codec } from "./int8.js";

const floats = fc.float({ noNaN: true, min: Math.fround(-1e30), max: Math.fround(1e30) });

describe("halves", () => {
  // 65,536 patterns: one expectation for all of them, because each costs a microsecond or twenty.
  test("every pattern comes back", () => {
    const wrong: number[] = [];
    for (let bits = 0; bits < 65536; bits++) {
      const isNotANumber = (bits & 0x7c00) === 0x7c00 && (bits & 1023) !== 0;
      if (!isNotANumber && halfBits(halfValue(bits)) !== bits) wrong.push(bits);
    }
    expect(wrong).toEqual([]);
    expect(halfValue(halfBits(NaN))).toBeNaN();
  });

  test("every other number becomes the nearest, ties the even one", () => {
    const wrong: number[] = [];
    for (let bits = 0; bits < 0x7bff; bits++) {
      const [low, high] = [halfValue(bits), halfValue(bits + 1)];
      const middle = halfBits((low + high) / 2); // exact in float32
      const [below, above] = [halfBits(low + (high - low) * 0.499), halfBits(low + (high - low) * 0.501)];
      if (middle !== bits + (bits & 1) || below !== bits || above !== bits + 1) wrong.push(bits);
    }
    expect(wrong).toEqual([]);
    expect(halfBits(65519.996)).toBe(0x7bff);
    expect(halfBits(-65520)).toBe(0xfc00);
  });
});

test("bfloat16: patterns come back, other numbers become the nearest, ties the even one", () => {
  for (let bits = 0; bits < 0x7f7f; bits += 7) {
    expect(bfloatBits(bfloatValue(bits))).toBe(bits);
    const middle = (bfloatValue(bits) + bfloatValue(bits + 1)) / 2;
    expect(bfloatBits(middle)).toBe(bits + (bits & 1));
  }
  expect(bfloatValue(bfloatBits(NaN))).toBeNaN();
  expect(bfloatBits(-1.5)).toBe(0xbfc0);
});

describe("int8", () => {
  test("no value is off by more than half a step, and codes come back", () => {
    const row = fc.array(floats, { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(row, (values) => {
        const K = values.length;
        const largest = Math.max(...values.map(Math.abs));
        fc.pre(largest === 0 || largest > 1e-30);
        const encoded = int8Codec.encode(Float32Array.from(values), 1, K, 32);
        const decoded = int8Codec.decode(encoded, 1, K, 32);
        const step = encoded.scales![0]!;
        for (const [k, value] of values.entries()) {
          expect(Math.abs(decoded[k]! - value)).toBeLessThanOrEqual(step * 0.50001);
        }
        const again = int8Codec.encode(Float32Array.from(decoded), 1, K, 32);
        expect(again.codes).toEqual(encoded.codes);
      }),
      { seed: 1 },
    );
  });
});

describe("int4", () => {
  test("a group's squared error is at most that of plain rounding to largest / 7", () => {
    const row = fc.array(fc.float({ min: -1, max: 1, noNaN: true }), { minLength: 33, maxLength: 100 });
    fc.assert(
      fc.property(row, (values) => {
        const K = values.length;
        const decoded = int4Codec.decode(int4Codec.encode(Float32Array.from(values), 1, K, 32), 1, K, 32);
        for (let first = 0; first < K; first += 32) {
          const group = values.slice(first, first + 32);
          const scale = Math.fround(Math.max(...group.map(Math.abs)) / 7);
          const plain = group.map((v) => (scale === 0 ? 0 : scale * Math.round(v / scale)) - v);
          const own = group.map((v, i) => decoded[first + i]! - v);
          const squares = (errors: number[]): number => errors.reduce((sum, e) => sum + e * e, 0);
          expect(squares(own)).toBeLessThanOrEqual(squares(plain) * (1 + 1e-6) + 1e-12);
        }
      }),
      { seed: 1 },
    );
  });

  test("numbers that are multiples of a step come back exactly, with either sign of the scale", () => {
    for (const sign of [1, -1]) {
      const values = Float32Array.from({ length: 64 }, (_, k) => sign * 0.25 * ((k % 16) - 8));
      expect(int4Codec.decode(int4Codec.encode(values, 2, 32, 32), 2, 32, 32)).toEqual(Float64Array.from(values));
    }
  });

  test("column 8j + L is nibble j of the 16-bit lane L", () => {
    const words = new Uint16Array(16);
    const bytes = new Uint8Array(words.buffer);
    const { byte, shift } = nibbleAt(32 + 8 * 2 + 5);
    bytes[byte] = 0xf << shift;
    expect(words[8 + 5]).toBe(0xf << (4 * 2));
  });
});

describe.each(await devices())("weight matrices on $label", (device) => {
  const kinds = ["f32", "f16", "bf16", "int8", "int4"] as const;
  test.each(kinds.flatMap((kind) => (["written", "received"] as const).map((how) => ({ kind, how }))))(
    "rows of $kind $how in parts, padded with zeros",
    async ({ kind, how }) => {
      const [rows, columns, group] = [5, 70, 64];
      const values = Float32Array.from({ length: rows * columns }, (_, i) => Math.cos(i));
      const codec = weightCodecs[kind];
      const { codes, scales } = codec.encode(values, rows, columns, group);
      const sourceBytes = codes.byteLength / rows;
      const scalesPerRow = (scales?.length ?? 0) / rows;
      const liveBefore = device.memory.live;
      await device.scope(async () => {
        using matrix = createWeightMatrix(device, { kind, rows, columns, group });
        expect(device.memory.live - liveBefore).toBeGreaterThanOrEqual(weightBytes({ kind, rows, columns, group }));
        for (const [first, count] of [
          [3, 2],
          [0, 1],
          [1, 2],
        ] as const) {
          const part = codes.subarray(first * sourceBytes, (first + count) * sourceBytes);
          const own = scales?.subarray(first * scalesPerRow, (first + count) * scalesPerRow);
          if (how === "written") writeRows(matrix, first, count, part, own);
          else await receiveRows(matrix, first, count, async (memory) => memory.set(part), own);
        }
        const bytes = new Uint8Array(await device.read(matrix.codes));
        const targetBytes = codec.rowBytes(matrix.rowStride);
        for (let row = 0; row < rows; row++) {
          const expected = new Uint8Array(targetBytes).fill(codec.zeroByte);
          expected.set(codes.subarray(row * sourceBytes, (row + 1) * sourceBytes));
          expect(bytes.subarray(row * targetBytes, (row + 1) * targetBytes)).toEqual(expected);
        }
        if (matrix.scales) expect(await matrix.scales.readFloat32()).toEqual(scales);
      });
      expect(device.memory.live).toBe(liveBefore);
    },
  );

  test("what does not fit is named", () => {
    device.scope(() => {
      const matrix = createWeightMatrix(device, { kind: "int8", rows: 4, columns: 8 });
      expect(() => writeRows(matrix, 3, 2, new Uint8Array(16))).toThrow(
        "writeRows: rows expected within 0 … 3, got 3 … 4.",
      );
      expect(() => writeRows(matrix, 0, 2, new Uint8Array(15))).toThrow(
        "writeRows: codes expected 16 bytes for 2 int8 rows of 8 columns, got 15 bytes.",
      );
      expect(() => writeRows(matrix, 0, 2, new Uint8Array(16))).toThrow(
        "writeRows: scales expected 2 values for 2 int8 rows, got 0 values.",
      );
      expect(() => weightFromFloat32(device, new Float32Array(3), 1, 4, "f32")).toThrow(
        "values expected [1, 4], got [3].",
      );
      expect(() => createWeightMatrix(device, { kind: "int4", rows: 1, columns: 8, group: 48 })).toThrow("got 48");
      expect(() => createWeightMatrix(device, { kind: "f16", rows: 0, columns: 8 })).toThrow("got [0, 8]");
    });
  });
});
