import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectNear } from "../../../test/near.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { type Tensor, upload, zeros } from "../../tensor/index.js";
import { globalNorm, updateRecord } from "../global-norm/global-norm.js";
import { type MuonPart, muon } from "./muon.js";
import { type Matrix, type MuonReference, muonReference, orthogonalReference } from "./muon.reference.js";
import { muonVariants } from "./muon.wgsl.js";
import { productVariants } from "./stack-product.wgsl.js";

/** Rows of a holder with `stride` columns, zeros from `columns` on. */
function holder(rows: number, columns: number, stride: number, seed: number): Float32Array {
  const data = fill(rows * stride, seed);
  return data.map((x, i) => (i % stride < columns ? x : 0));
}

const rowsOf = (data: Float32Array, stride: number, { first, rows, columns }: MuonPart): number[][] =>
  Array.from({ length: rows }, (_, r) => [...data.subarray((first + r) * stride, (first + r) * stride + columns)]);

interface Case {
  readonly name: string;
  readonly tensors: readonly {
    readonly N: number;
    readonly columns: number;
    readonly parts: readonly { readonly first: number; readonly rows: number }[];
  }[];
}

const small = { N: 8, columns: 20, parts: [{ first: 0, rows: 8 }] };

const cases: readonly Case[] = [
  { name: "a wide matrix", tensors: [{ N: 8, columns: 32, parts: [{ first: 0, rows: 8 }] }] },
  { name: "a tall matrix with padding", tensors: [{ N: 40, columns: 6, parts: [{ first: 0, rows: 40 }] }] },
  {
    name: "two stacked ones, and a row that belongs to none",
    tensors: [
      {
        N: 16,
        columns: 10,
        parts: [
          { first: 0, rows: 3 },
          { first: 3, rows: 12 },
        ],
      },
    ],
  },
  { name: "nine tensors of one size", tensors: Array.from({ length: 9 }, () => small) },
  {
    name: "wide and tall ones of one size, at equal and other distances",
    tensors: [
      { N: 40, columns: 12, parts: [5, 0, 10, 25].map((first) => ({ first, rows: 5 })) },
      { N: 30, columns: 5, parts: [1, 14].map((first) => ({ first, rows: 12 })) },
      {
        N: 20,
        columns: 12,
        parts: [
          { first: 0, rows: 12 },
          { first: 13, rows: 5 },
        ],
      },
    ],
  },
  {
    name: "matrices of more than one tile, wide and tall",
    tensors: [
      { N: 70, columns: 83, parts: [{ first: 0, rows: 70 }] },
      { N: 83, columns: 70, parts: [{ first: 0, rows: 83 }] },
    ],
  },
  {
    name: "a single row, and one number",
    tensors: [1, 7].map((columns) => ({ ...small, N: 1, columns, parts: [{ first: 0, rows: 1 }] })),
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
  test.each(cases)("$name", async ({ tensors: places }) => {
    const before = device.memory.live;
    {
      using record = updateRecord(device);
      const tensors = places.map(({ N, columns, parts }, i) => {
        const stride = Math.ceil(columns / 32) * 32;
        const start = holder(N, columns, stride, 5 + i);
        const own = parts.map((part) => ({ ...part, columns }));
        return {
          ...{ N, columns, stride, start, parts: own, rate: 0.05 / (i + 1), decay: 0.1 * i },
          parameter: upload(device, start, [N, stride]),
          momentum: zeros(device, [N, stride]),
          states: own.map(
            (part): MuonReference => ({
              weights: rowsOf(start, stride, part),
              momentum: rowsOf(new Float32Array(N * stride), stride, part),
            }),
          ),
        };
      });
      for (let step = 0; step < 2; step++) {
        const slopes = tensors.map(({ N, columns, stride }, i) => holder(N, columns, stride, 50 + step + 2 * i));
        const gradients = tensors.map(({ N, stride }, i) => upload(device, slopes[i] as Float32Array, [N, stride]));
        globalNorm(gradients, record, { maxNorm: 0.3 });
        muon(
          tensors.map((tensor, i) => ({ ...tensor, gradient: gradients[i] as Tensor })),
          record,
          { momentum: 0.9 },
        );
        for (const gradient of gradients) gradient.dispose();
        const norm = Math.sqrt(slopes.reduce((sum, one) => one.reduce((own, g) => own + g * g, sum), 0));
        for (const [i, { parts, stride, states, rate, decay }] of tensors.entries()) {
          for (const [j, part] of parts.entries()) {
            const options = { rate, decay, factor: Math.min(1, 0.3 / norm), momentum: 0.9 };
            const rows = rowsOf(slopes[i] as Float32Array, stride, part);
            muonReference(states[j] as MuonReference, rows as Matrix, options);
          }
        }
      }
      for (const { parameter, momentum, start, parts, stride, columns, states } of tensors) {
        const end = await parameter.readFloat32();
        const kept = await momentum.readFloat32();
        for (const [j, part] of parts.entries()) {
          const expected = states[j] as MuonReference;
          expectNear(rowsOf(end, stride, part).flat(), expected.weights.flat(), { relativeRms: 2e-6 });
          expectNear(rowsOf(kept, stride, part).flat(), expected.momentum.flat(), { relativeRms: 1e-6 });
        }
        const isOwn = (row: number) => parts.some(({ first, rows }) => row >= first && row < first + rows);
        for (let i = 0; i < end.length; i++) {
          if (!isOwn(Math.floor(i / stride)) || i % stride >= columns) expect(end[i]).toBe(start[i]);
        }
        parameter.dispose();
        momentum.dispose();
      }
    }
    expect(device.memory.live).toBe(before);
  });

  test("the same bits again", async () => {
    const run = async () => {
      using parameter = upload(device, holder(24, 20, 32, 1), [24, 32]);
      using momentum = zeros(device, [24, 32]);
      using record = updateRecord(device);
      using gradient = upload(device, holder(24, 20, 32, 2), [24, 32]);
      globalNorm([gradient], record);
      const parts = [0, 8, 16].map((first) => ({ first, rows: 8, columns: 20 }));
      muon([{ parameter, gradient, momentum, parts, rate: 0.1, decay: 0.1 }], record);
      return await parameter.readFloat32();
    };
    const once = await run();
    expect(await run()).toEqual(once);
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
  for (const { messages } of await compileOnNullBackend([...muonVariants(), ...productVariants()]))
    expect(messages).toEqual([]);
});
