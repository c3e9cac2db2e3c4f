import { describe, expect, test } from "vitest";
import { devices, webgpuOrSkip } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectGradients } from "../../../test/gradients.js";
import { expectNear } from "../../../test/near.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { empty, type Tensor, upload } from "../../tensor/index.js";
import { pullback } from "../gradient/value-and-gradient.js";
import { matrixFromTensor } from "../matmul/weight-matrix.js";
import { halfValue } from "../matmul/weights/f16.js";
import { crossEntropy } from "./cross-entropy.js";
import { launchCrossEntropy, pairsOf } from "./cross-entropy.launch.js";
import { crossEntropyReference } from "./cross-entropy.reference.js";
import { crossEntropyVariants } from "./cross-entropy.wgsl.js";

const K = 32;

describe.each(await devices())("cross-entropy and its gradient on $label", (device) => {
  test.each([
    { name: "one piece", targets: [2, 0, 4], V: 5, chunk: 8 },
    { name: "pieces, the last one short; tokens without a target", targets: [9, -1, 3, 4, 8, -1], V: 10, chunk: 4 },
    { name: "a count of its own", targets: [1], V: 3, chunk: 2, count: 7 },
  ])("$name", async ({ targets, V, chunk, count }) => {
    await expectGradients(device, {
      operands: { x: { shape: [targets.length, K] }, w: { shape: [V, K] } },
      run: ({ x, w }) =>
        crossEntropy(x!, matrixFromTensor(w!, K), targets, {
          chunk,
          ...(count === undefined ? {} : { count }),
        }),
      reference: ({ x, w }) =>
        crossEntropyReference(x!, w!, targets, {
          K,
          stride: K,
          count: count ?? targets.filter((id) => id >= 0).length,
        }),
    });
  });

  test("on matrix units: the loss as in float32, gradients near", async () => {
    const [T, K, V, chunk] = [66, 64, 200, 80];
    await device.scope(async () => {
      const x = upload(device, fill(T * K, 1), [T, K]);
      const w = upload(
        device,
        fill(V * K, 2).map((value) => 0.2 * value),
        [V, K],
      );
      const targets = Array.from({ length: T }, (_, t) => (t % 7 === 0 ? -1 : (t * 31) % V));
      const gradientsOf = async (precision: "f32" | "f16") => {
        const { value, gradients } = pullback(({ x, w }: { x: Tensor; w: Tensor }) =>
          crossEntropy(x, matrixFromTensor(w.retain(), K), targets, { precision, chunk }),
        )({ x, w }, () => upload(device, [3], [1]));
        return Promise.all([value, gradients.x!, gradients.w!].map((tensor) => tensor.readFloat32()));
      };
      const [wide, halves] = [await gradientsOf("f32"), await gradientsOf("f16")];
      expectNear(halves[0]!, wide[0]!, { relativeRms: 1e-6 });
      for (const i of [1, 2]) expectNear(halves[i]!, wide[i]!, { relativeRms: 2 ** -10 });
      if (device.kind === "webgpu") expect(halves[1]).not.toEqual(wide[1]);
    });
  });

  test("a target outside the vocabulary is refused", () => {
    device.scope(() => {
      const x = upload(device, fill(K, 1), [1, K]);
      const w = matrixFromTensor(upload(device, fill(3 * K, 2), [3, K]), K);
      expect(() => crossEntropy(x, w, [3])).toThrow("crossEntropy: target 3; the vocabulary has 3 ids");
    });
  });
});

test("pairs of halves hold a number to 2^-20 of it", async ({ skip }) => {
  const device = await webgpuOrSkip();
  if (device?.kind !== "webgpu") return skip();
  await device.scope(async () => {
    const [rows, columns, stride, unit] = [2, 70, 96, 64];
    const x = fill(rows * stride, 1).map((value) => 0.02 * value);
    const words = (await pairsOf(device, upload(device, x, [rows, stride]), columns, 2, unit).read()) as Uint32Array;
    const half = (row: number, part: number, column: number) => {
      const word = words[(row * 3 + part) * 64 + (column >> 1)] as number;
      return halfValue(column % 2 === 0 ? word & 0xffff : word >>> 16);
    };
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < 128; column++) {
        const expected = column < columns ? unit * (x[row * stride + column] as number) : 0;
        expect(half(row, 0, column)).toBe(half(row, 1, column));
        expect(Math.abs(half(row, 0, column) + half(row, 2, column) - expected)).toBeLessThanOrEqual(2 ** -20 * 1.3);
      }
    }
  });
});

test("the gradient as halves, before its factor", async ({ skip }) => {
  const device = await webgpuOrSkip();
  if (device?.kind !== "webgpu") return skip();
  await device.scope(async () => {
    const targets = [2, -1, 0];
    const logits = fill(15, 1).map((z) => 3 * z);
    const z = upload(
      device,
      logits.map((value) => 64 * value),
      [3, 5],
    );
    const ids = upload(device, targets, [3], "i32");
    const [stats, dz] = [empty(device, [3, 4]), empty(device, [3, 32], "u32")];
    const sizes = { T: 3, first: 0, columns: 5, count: 2, unit: 1 / 64 };
    launchCrossEntropy("stats", [z, ids, stats], sizes);
    launchCrossEntropy("halves", [z, ids, stats, dz], sizes);
    const words = (await dz.read()) as Uint32Array;
    for (const [t, target] of targets.entries()) {
      const total = logits.slice(5 * t, 5 * t + 5).reduce((sum, value) => sum + Math.exp(value), 0);
      for (let i = 0; i < 64; i++) {
        const word = words[t * 32 + (i >> 1)] as number;
        const got = halfValue(i % 2 === 0 ? word & 0xffff : word >>> 16);
        const isReal = i < 5 && target >= 0;
        const expected = isReal ? Math.exp(logits[5 * t + i] as number) / total - Number(i === target) : 0;
        expect(Math.abs(got - expected)).toBeLessThan(2 ** -11);
      }
    }
  });
});

test("every WebGPU variant compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend(crossEntropyVariants())) {
    expect(messages, kernel.label).toEqual([]);
  }
});
