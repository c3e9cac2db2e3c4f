import { describe, expect, test } from "vitest";
import { randomArray } from "../../../test/kv-batch.js";
import { expectNear } from "../../../test/near.js";
import type { SideFormat } from "./format.js";
import { emptyPage, readRow, writeBlockParameters, writeRow } from "./page-image.reference.js";
import {
  cacheHalf,
  cacheHalfBits,
  cacheHalfValue,
  codeAt,
  packBlock,
  packCodes,
  packRow,
} from "./quantiser.reference.js";

const side = (s: Partial<SideFormat>): SideFormat => ({
  ...{ bits: 2, layout: "token", group: 16, quantiser: "min", clip: 1, norm: false },
  ...s,
});

describe("halves of a cache", () => {
  test("every normal half and zero comes back", () => {
    const normal = Array.from({ length: 0x7c00 - 0x400 }, (_, i) => 0x400 + i);
    const wrong = normal.filter(
      (bits) =>
        cacheHalfBits(cacheHalfValue(bits)) !== bits || cacheHalfBits(-cacheHalfValue(bits)) !== (bits | 0x8000),
    );
    expect(wrong).toEqual([]);
    expect(cacheHalfBits(-0)).toBe(0);
  });

  test.each([
    ["a tie goes to even", 1 + 2 ** -11, 1],
    ["above a tie", 1 + 2 ** -11 + 2 ** -30, 1 + 2 ** -10],
    ["saturates", 1e9, 65504],
    ["saturates where nearest would be infinity", -65520, -65504],
    ["subnormal halves are zero", 2 ** -14 * (1 - 2 ** -10), 0],
    ["the last tie below the smallest half goes up", 2 ** -14 * (1 - 2 ** -11), 2 ** -14],
  ])("%s", (_, x, expected) => expect(cacheHalf(x)).toBe(expected));
});

test.each([2, 3, 4, 8] as const)("codes of %i bits come back, odd rows too", (bits) => {
  for (const length of [4, 20, 64, 80, 96]) {
    const codes = Array.from({ length }, (_, i) => (i * 7 + length) % 2 ** bits);
    const words = packCodes(codes, bits);
    expect(codes.map((_, i) => codeAt(words, 0, i, bits, length))).toEqual(codes);
  }
});

test.each([
  side({ bits: 2 }),
  side({ bits: 3, quantiser: "zp" }),
  side({ bits: 4, group: 80 }),
  side({ bits: 8, group: 80, norm: true }),
])("a row is off by half a step at most: %o", (format) => {
  const shape = { side: format, kvHeads: 2, headDim: 80 };
  const page = emptyPage(shape);
  const row = randomArray(80, 3);
  writeRow(page, shape, 1, 77, packRow(row, format));
  const found = readRow(page, shape, 1, 77);
  // The range is at most 2 (an integer zero point costs up to another half step); offsets round to f16.
  const step = 2 / (2 ** format.bits - 1);
  expectNear(found, row, { absolute: step * (format.quantiser === "zp" ? 1 : 0.5) + 2e-3 });
});

test("a block's codes are against the channel's range over its tokens, and the norm comes back", () => {
  const format = side({ bits: 4, layout: "channel", group: 16, norm: true });
  const shape = { side: format, kvHeads: 1, headDim: 20 };
  const page = emptyPage(shape);
  const rows = Array.from({ length: 16 }, (_, i) => randomArray(20, i, 1 + i));
  const block = packBlock(rows, format);
  writeBlockParameters(page, shape, 0, 3, block.params);
  block.rows.forEach((row, i) => {
    writeRow(page, shape, 0, 48 + i, row);
  });
  rows.forEach((row, i) => {
    const found = readRow(page, shape, 0, 48 + i);
    const rms = Math.hypot(...row) / Math.sqrt(20);
    // Unit rows reach at most √20 either way: half a step of the widest range.
    expectNear(found, row, { absolute: (rms * Math.sqrt(20)) / 15 + 1e-2 });
  });
});

test.each(["levels", "even"] as const)("unbiased %s leave no error along the row", (quantiser) => {
  const format = side({ bits: 2, quantiser, group: 64, unbiased: true });
  const shape = { side: format, kvHeads: 1, headDim: 64 };
  const page = emptyPage(shape);
  const row = randomArray(64, 9, 3);
  writeRow(page, shape, 0, 0, packRow(row, format));
  const found = readRow(page, shape, 0, 0);
  let [energy, along] = [0, 0];
  row.forEach((x, c) => {
    energy += x * x;
    along += (x - found[c]!) * x;
  });
  expect(Math.abs(along) / energy).toBeLessThan(1e-3);
  writeRow(page, shape, 0, 1, packRow(new Float32Array(64), format));
  expect(readRow(page, shape, 0, 1)).toEqual(new Float64Array(64));
});

test.each([
  side({ bits: 3, quantiser: "levels", group: 64 }),
  side({ bits: 3, quantiser: "even", group: 64 }),
  side({ bits: 3, quantiser: "even", group: 16 }),
])("levels keep the least-squares scale: %o", (format) => {
  const shape = { side: format, kvHeads: 1, headDim: 64 };
  const page = emptyPage(shape);
  const row = randomArray(64, 9, 3);
  writeRow(page, shape, 0, 0, packRow(row, format));
  const found = readRow(page, shape, 0, 0);
  let [error, energy, along] = [0, 0, 0];
  row.forEach((x, c) => {
    error += (x - found[c]!) ** 2;
    energy += x * x;
    along += (x - found[c]!) * found[c]!;
  });
  expect(error / energy).toBeLessThan(0.06);
  expect(Math.abs(along) / energy).toBeLessThan(1e-3);
});
