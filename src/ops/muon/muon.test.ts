import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectNear } from "../../../test/near.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload, zeros } from "../../tensor/index.js";
import { globalNorm, updateRecord } from "../global-norm/global-norm.js";
import { type MuonPart, muon } from "./muon.js";
import { type Matrix, type MuonReference, muonReference, orthogonalReference } from "./muon.reference.js";
import { muonVariants } from "./muon.wgsl.js";

/** Rows of a holder with `stride` columns, zeros from `columns` on. */
function holder(rows: number, columns: number, stride: number, seed: number): Float32Array {
  const data = fill(rows * stride, seed);
  return data.map((x, i) => (i % stride < columns ? x : 0));
}

const rowsOf = (data: Float32Array, stride: number, { first, rows, columns }: MuonPart): number[][] =>
  Array.from({ length: rows }, (_, r) => [...data.subarray((first + r) * stride, (first + r) * stride + columns)]);

const cases = [
  { name: "a wide matrix", N: 8, columns: 32, parts: [{ first: 0, rows: 8 }] },
  { name: "a tall matrix with padding", N: 40, columns: 6, parts: [{ first: 0, rows: 40 }] },
  {
    name: "three stacked ones, and a row that belongs to none",
    N: 16,
    columns: 10,
    parts: [
      { first: 0, rows: 3 },
      { first: 3, rows: 12 },
    ],
  },
];

test("the reference gives singular values near one", () => {
  const x = orthogonalReference(Array.from({ length: 4 }, (_, i) => [...fill(9, i + 1)]));
  for (const [i, row] of x.entries()) {
    for (const [j, other] of x.entries()) {
      const dot = row.reduce((sum, value, k) => sum + value * (other[k] ?? 0), 0);
      if (i === j) expect(Math.abs(dot - 0.9)).toBeLessThan(0.5);
      else expect(Math.abs(dot)).toBeLessThan(0.4);
    }
  }
});

describe.each(await devices())("muon on $label", (device) => {
  test.each(cases)("$name", async ({ N, columns, parts: places }) => {
    const before = device.memory.live;
    {
      const stride = Math.ceil(columns / 32) * 32;
      const parts = places.map((place) => ({ ...place, columns }));
      const start = holder(N, columns, stride, 5);
      using parameter = upload(device, start, [N, stride]);
      using momentum = zeros(device, [N, stride]);
      using record = updateRecord(device);
      const states = parts.map(
        (part): MuonReference => ({
          weights: rowsOf(start, stride, part),
          momentum: rowsOf(new Float32Array(N * stride), stride, part),
        }),
      );
      for (let step = 0; step < 2; step++) {
        const slopes = holder(N, columns, stride, 50 + step);
        using gradient = upload(device, slopes, [N, stride]);
        globalNorm([gradient], record, { maxNorm: 0.3 });
        muon([{ parameter, gradient, momentum, parts, rate: 0.05, decay: 0.1 }], record, { momentum: 0.9 });
        const factor = Math.min(1, 0.3 / Math.sqrt(slopes.reduce((sum, g) => sum + g * g, 0)));
        for (const [i, part] of parts.entries()) {
          const options = { rate: 0.05, decay: 0.1, factor, momentum: 0.9 };
          muonReference(states[i] as MuonReference, rowsOf(slopes, stride, part) as Matrix, options);
        }
      }
      const end = await parameter.readFloat32();
      for (const [i, part] of parts.entries()) {
        expectNear(rowsOf(end, stride, part).flat(), (states[i] as MuonReference).weights.flat(), {
          relativeRms: 2e-6,
        });
      }
      const isOwn = (row: number) => parts.some(({ first, rows }) => row >= first && row < first + rows);
      for (let i = 0; i < end.length; i++) {
        if (!isOwn(Math.floor(i / stride)) || i % stride >= columns) expect(end[i]).toBe(start[i]);
      }
    }
    expect(device.memory.live).toBe(before);
  });

  test("a gradient that is not finite changes nothing", async () => {
    const start = holder(4, 32, 32, 1);
    using parameter = upload(device, start, [4, 32]);
    using momentum = zeros(device, [4, 32]);
    using record = updateRecord(device);
    using gradient = upload(device, new Float32Array(128).fill(Number.NaN), [4, 32]);
    globalNorm([gradient], record);
    const parts = [{ first: 0, rows: 4, columns: 32 }];
    muon([{ parameter, gradient, momentum, parts, rate: 0.1, decay: 0.1 }], record);
    expect(await parameter.readFloat32()).toEqual(start);
    expect(await momentum.readFloat32()).toEqual(new Float32Array(128));
  });
});

test("every kernel compiles", async () => {
  for (const { messages } of await compileOnNullBackend(muonVariants())) expect(messages).toEqual([]);
});
