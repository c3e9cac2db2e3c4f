/** The products of a backward pass on the software adapter, against float64 loops. */
import { afterAll, describe, expect, test } from "vitest";
import { fill } from "../../../../test/fill.js";
import { expectNear } from "../../../../test/near.js";
import { WebGpuDevice } from "../../../device/index.js";
import { compileOnNullBackend } from "../../../device/webgpu/check-variants.js";
import { upload } from "../../../tensor/index.js";
import { widenVariants } from "../weights/widen.js";
import { contract, contractionMatrixVariants, contractionVariants } from "./contraction.js";
import type { Order } from "./operands.js";

const device = await WebGpuDevice.open({ allowSoftware: true });
afterAll(() => device.close());

/** Element (output, k) of an operand with `stride` numbers a line. */
const element = (data: Float32Array, order: Order, stride: number, output: number, k: number): number =>
  data[order === "rows" ? output * stride + k : k * stride + output] as number;

const lines = (order: Order, outputs: number, K: number) => (order === "rows" ? [outputs, K] : [K, outputs]);

describe("contraction", () => {
  test.each([
    { name: "dx: rows and columns", a: "rows", b: "columns", M: 9, N: 8, K: 20 },
    { name: "dW: columns and columns", a: "columns", b: "columns", M: 8, N: 12, K: 21 },
    { name: "rows and rows", a: "rows", b: "rows", M: 4, N: 8, K: 8 },
    { name: "odd extents", a: "columns", b: "columns", M: 5, N: 3, K: 7 },
    { name: "several tiles", a: "rows", b: "columns", M: 67, N: 65, K: 33 },
    { name: "the sum in parts", a: "columns", b: "columns", M: 8, N: 4, K: 70, splits: 3 },
    { name: "added", a: "columns", b: "columns", M: 3, N: 5, K: 9, accumulate: true },
  ] as const)("$name", async ({ a, b, M, N, K, ...o }) => {
    const A = fill(M * K, 1);
    const B = fill(N * K, 2);
    const [aStride, bStride] = [a === "rows" ? K : M, b === "rows" ? K : N];
    const before = fill(M * N, 3);
    const expected = Float64Array.from({ length: M * N }, (_, i) => {
      let sum = "accumulate" in o ? (before[i] as number) : 0;
      const [m, n] = [Math.floor(i / N), i % N];
      for (let k = 0; k < K; k++) sum += element(A, a, aStride, m, k) * element(B, b, bStride, n, k);
      return sum;
    });
    await device.scope(async () => {
      const out = upload(device, before, [M, N]);
      const [left, right] = [upload(device, A, lines(a, M, K)), upload(device, B, lines(b, N, K))];
      const accumulate = "accumulate" in o;
      const operands = { a: { tensor: left, order: a }, b: { tensor: right, order: b } };
      contract(
        device,
        { ...operands, M, N, K, out, accumulate },
        "splits" in o ? { splits: o.splits, tiles: true } : { tiles: true },
      );
      expectNear(await out.readFloat32(), expected, { relativeRms: 1e-6 });
    });
  });

  test.each([1, 2])("sums of experts over their places, one of them empty, in %i parts", async (splits) => {
    const [M, N] = [5, 4];
    const starts = [0, 64, 64, 192];
    const A = fill(192 * M, 1);
    const B = fill(192 * N, 2);
    const expected = Float64Array.from({ length: 3 * M * N }, (_, i) => {
      const [e, m, n] = [Math.floor(i / (M * N)), Math.floor(i / N) % M, i % N];
      let sum = 0;
      for (let k = starts[e] as number; k < (starts[e + 1] as number); k++) sum += A[k * M + m]! * B[k * N + n]!;
      return sum;
    });
    await device.scope(async () => {
      const out = upload(device, new Float32Array(3 * M * N).fill(9), [3 * M, N]);
      const operand = (data: Float32Array, n: number) =>
        ({ tensor: upload(device, data, [192, n]), order: "columns" }) as const;
      const experts = { mode: "sums", count: 3, unit: 64, table: upload(device, starts, [4], "u32") } as const;
      contract(device, { a: operand(A, M), b: operand(B, N), M, N, K: 192, out, experts }, { splits, tiles: true });
      expectNear(await out.readFloat32(), expected, { relativeRms: 1e-6 });
    });
  });

  test.each(["rows", "columns"] as const)("places by their experts' %s; tiles without one are left", async (order) => {
    const [N, K, E] = [4, 8, 3];
    const table = [2, 0, E];
    const A = fill(192 * K, 1);
    const B = fill(E * N * K, 2);
    await device.scope(async () => {
      const out = upload(device, new Float32Array(192 * N).fill(9), [192, N]);
      const b = upload(device, B, order === "rows" ? [E * N, K] : [E * K, N]);
      const experts = { mode: "places", count: E, unit: 64, table: upload(device, table, [3], "u32") } as const;
      const a = { tensor: upload(device, A, [192, K]), order: "rows" } as const;
      contract(device, { a, b: { tensor: b, order }, M: 192, N, K, out, experts }, { tiles: true });
      const expected = Float64Array.from({ length: 192 * N }, (_, i) => {
        const [m, n] = [Math.floor(i / N), i % N];
        const e = table[Math.floor(m / 64)] as number;
        if (e === E) return 9;
        let sum = 0;
        for (let k = 0; k < K; k++) {
          sum += A[m * K + k]! * (order === "rows" ? B[(e * N + n) * K + k]! : B[(e * K + k) * N + n]!);
        }
        return sum;
      });
      expectNear(await out.readFloat32(), expected, { relativeRms: 1e-6 });
    });
  });
});

test("every WebGPU variant compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend([
    ...contractionVariants(),
    ...contractionMatrixVariants(),
    ...widenVariants(),
  ])) {
    expect(messages, kernel.label).toEqual([]);
  }
});
