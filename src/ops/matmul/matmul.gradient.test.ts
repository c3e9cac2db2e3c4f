import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectGradients } from "../../../test/gradients.js";
import { expectNear } from "../../../test/near.js";
import { type Tensor, upload } from "../../tensor/index.js";
import { pullback } from "../gradient/value-and-gradient.js";
import { rmsNormReference } from "../rms-norm/rms-norm.reference.js";
import { matmul } from "./matmul.js";
import { matmulReference } from "./matmul.reference.js";
import { matrixFromTensor } from "./weight-matrix.js";
import { createWeightMatrix, weightCodecs, writeRows } from "./weights/create.js";

const STRIDE = 32;

/** [rows, STRIDE] with zeros from column K on. */
function weights(rows: number, K: number) {
  return { shape: [rows, STRIDE], data: fill(rows * STRIDE, 5).map((x, i) => (i % STRIDE < K ? x : 0)) };
}

describe.each(await devices())("gradients of matmul on $label", (device) => {
  test.each([
    { T: 1, K: 32, N: 4 },
    { T: 5, K: 32, N: 3 },
    { T: 35, K: 32, N: 9 },
  ])("[$T, $K] × [$N, $K]ᵀ", async ({ T, K, N }) => {
    await expectGradients(device, {
      operands: { x: { shape: [T, K] }, w: weights(N, K) },
      run: ({ x, w }) => matmul(x!, matrixFromTensor(w!, K)),
      reference: ({ x, w }) => matmulReference({ x: x!, w: w!, T, K, rows: N }),
    });
  });

  test.each(["f16", "bf16", "int8", "int4"] as const)("of x alone, through %s weights", async (kind) => {
    const [T, K, N] = [9, 40, 6];
    const { codes, scales } = weightCodecs[kind].encode(fill(N * K, 5), N, K, 32);
    const wide = weightCodecs[kind].decode({ codes, scales }, N, K, 32);
    const w = createWeightMatrix(device, { kind, rows: N, columns: K });
    writeRows(w, 0, N, codes, scales);
    await expectGradients(device, {
      operands: { x: { shape: [T, K] } },
      run: ({ x }) => matmul(x!, w),
      reference: ({ x }) => matmulReference({ x: x!, w: wide, T, K, rows: N }),
    });
    w.dispose();
  });

  test("operands as halves are near; a gradient beyond them is not finite", async () => {
    const [T, K, N] = [66, 70, 65];
    await device.scope(async () => {
      const x = upload(device, fill(T * K, 1), [T, K]);
      const data = fill(N * 96, 2).map((value, i) => (i % 96 < K ? value : 0));
      const gradientsOf = async (precision: "f32" | "f16", seed: number) => {
        const w = upload(device, data, [N, 96]);
        const f = ({ x, w }: { x: Tensor; w: Tensor }) => matmul(x, matrixFromTensor(w.retain(), K, precision));
        const { gradients } = pullback(f)({ x, w }, (y) => upload(device, fill(T * N, 3).fill(seed, 0, 1), y.shape));
        return Promise.all([gradients.x!.readFloat32(), gradients.w!.readFloat32()]);
      };
      const [wide, halves] = [await gradientsOf("f32", 1), await gradientsOf("f16", 1)];
      for (const i of [0, 1] as const) expectNear(halves[i], wide[i], { relativeRms: 2 ** -10 });
      if (device.kind === "cpu") return; // always in float32
      expect(halves[0]).not.toEqual(wide[0]);
      const [dx] = await gradientsOf("f16", 7e4);
      expect(Number.isFinite(dx[0])).toBe(false);
      expect(Number.isFinite(dx[K])).toBe(true);
    });
  });

  test("bias, gate, multiplied by a norm, residual", async () => {
    const [T, K, N] = [3, 32, 5];
    await expectGradients(device, {
      operands: {
        x: { shape: [T, K] },
        w: weights(2 * N, K),
        bias: { shape: [2 * N] },
        multiply: { shape: [T, N] },
        residual: { shape: [T, N] },
      },
      run: ({ x, w, bias, multiply, residual }) =>
        matmul(x!, matrixFromTensor(w!, K), {
          bias: bias!,
          gate: true,
          multiply: multiply!,
          residual: { tensor: residual!, alpha: 3.5, beta: -0.5 },
        }),
      reference: ({ x, w, bias, multiply, residual }) =>
        matmulReference({
          ...{ x: x!, w: w!, T, K, rows: 2 * N, bias, gate: true, multiply },
          residual: { tensor: residual!, alpha: 3.5, beta: -0.5 },
        }),
    });
  });

  test("multiplied by normed rows", async () => {
    const [T, K, N] = [3, 32, 6];
    const eps = 1e-5;
    await expectGradients(device, {
      operands: { x: { shape: [T, K] }, w: weights(N, K), o: { shape: [T, N] }, norm: { shape: [N] } },
      run: ({ x, w, o, norm }) =>
        matmul(x!, matrixFromTensor(w!, K), {
          activation: "sigmoid",
          multiply: o!,
          multiplyNorm: { weight: norm!, eps },
        }),
      reference: ({ x, w, o, norm }) =>
        matmulReference({
          ...{ x: x!, w: w!, T, K, rows: N, activation: "sigmoid" },
          multiply: rmsNormReference(o!, norm!, { eps }),
        }),
    });
  });
});
