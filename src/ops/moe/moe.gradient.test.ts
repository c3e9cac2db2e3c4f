import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectGradients } from "../../../test/gradients.js";
import { expectNear } from "../../../test/near.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { pullback } from "../gradient/value-and-gradient.js";
import { matrixFromTensor } from "../matmul/weight-matrix.js";
import { createWeightMatrix, weightCodecs, writeRows } from "../matmul/weights/create.js";
import { routeGradientKernel } from "../route-experts/route-experts.gradient.js";
import { moeGradientVariants } from "./moe.gradient.wgsl.js";
import { moe } from "./moe.js";
import { moeReference } from "./moe.reference.js";

const [H, I, E] = [32, 32, 3];

/** Rows of 32 columns, small enough that SiLU is far from straight and no choice of experts is close. */
const rows = (count: number, stream: number, factor: number) => ({
  shape: [count, 32],
  data: fill(count * 32, stream).map((x) => factor * x),
});

describe.each(await devices())("gradients of moe on $label", (device) => {
  test.each([
    { T: 1, topK: 1, normalise: true },
    { T: 3, topK: 2, normalise: true },
    { T: 3, topK: 2, normalise: false },
  ])("$T tokens, $topK experts, normalised: $normalise", async ({ T, topK, normalise }) => {
    const options = { experts: E, topK, normalise };
    await expectGradients(device, {
      operands: {
        x: { shape: [T, H] },
        router: rows(E, 11, 0.7),
        gateUp: rows(E * 2 * I, 12, 0.3),
        down: rows(E * H, 13, 0.3),
      },
      run: ({ x, router, gateUp, down }) =>
        moe(
          x!,
          {
            router: matrixFromTensor(router!, H),
            gateUp: matrixFromTensor(gateUp!, H),
            down: matrixFromTensor(down!, I),
          },
          options,
        ),
      reference: ({ x, router, gateUp, down }) =>
        moeReference({ x: x!, router: router!, gateUp: gateUp!, down: down!, T, H, I, ...options }),
    });
  });

  test("odd extents, more tokens than experts; an expert that nobody chooses gets zeros", async () => {
    const [T, H, I, E, topK] = [13, 7, 5, 4, 2];
    const padded = (count: number, columns: number, stream: number, factor: number) => ({
      shape: [count, 32],
      data: fill(count * 32, stream).map((x, i) => (i % 32 < columns ? factor * x : 0)),
    });
    // Inputs are positive, and so the last expert is never among the best.
    const router = padded(E, H, 11, 0.7);
    router.data.fill(-3, 32 * (E - 1), 32 * (E - 1) + H);
    const options = { experts: E, topK, normalise: true };
    const narrow = (wide: Float64Array, columns: number) => wide.filter((_, i) => i % 32 < columns);
    await expectGradients(device, {
      operands: {
        x: { shape: [T, H], data: fill(T * H, 1).map((x) => Math.abs(x) + 0.1) },
        router,
        gateUp: padded(E * 2 * I, H, 12, 0.7),
        down: padded(E * H, I, 13, 0.7),
      },
      run: ({ x, router, gateUp, down }) =>
        moe(
          x!,
          {
            router: matrixFromTensor(router!, H),
            gateUp: matrixFromTensor(gateUp!, H),
            down: matrixFromTensor(down!, I),
          },
          options,
        ),
      reference: ({ x, router, gateUp, down }) =>
        moeReference({
          ...{ x: x!, router: narrow(router!, H), gateUp: narrow(gateUp!, H), down: narrow(down!, I), T, H, I },
          ...options,
        }),
    });
  });

  test.each(["f16", "int4"] as const)("of x alone, through %s experts", async (kind) => {
    const [T, topK] = [6, 2];
    const options = { experts: E, topK, normalise: true };
    const made = (count: number, stream: number) => {
      const values = fill(count * 32, stream).map((x) => 0.3 * x);
      const { codes, scales } = weightCodecs[kind].encode(values, count, 32, 32);
      const matrix = createWeightMatrix(device, { kind, rows: count, columns: 32 });
      writeRows(matrix, 0, count, codes, scales);
      return { matrix, wide: weightCodecs[kind].decode({ codes, scales }, count, 32, 32) };
    };
    const router = rows(E, 11, 0.7);
    const [gateUp, down] = [made(E * 2 * I, 12), made(E * H, 13)];
    const routerMatrix = matrixFromTensor(upload(device, router.data, router.shape), H);
    const w = { router: routerMatrix, gateUp: gateUp.matrix, down: down.matrix };
    const wide = { router: Float64Array.from(router.data), gateUp: gateUp.wide, down: down.wide };
    await expectGradients(device, {
      operands: { x: { shape: [T, H] } },
      run: ({ x }) => moe(x!, w, options),
      reference: ({ x }) => moeReference({ x: x!, ...wide, T, H, I, ...options }),
    });
    for (const matrix of Object.values(w)) matrix.dispose();
  });

  test("operands as halves are near", async () => {
    const [T, H, I, E] = [66, 64, 72, 3];
    await device.scope(async () => {
      const made = (count: number, stride: number, columns: number, stream: number, factor: number) =>
        upload(
          device,
          fill(count * stride, stream).map((x, i) => (i % stride < columns ? factor * x : 0)),
          [count, stride],
        );
      const parameters = {
        x: made(T, H, H, 1, 1),
        router: made(E, H, H, 11, 0.7),
        gateUp: made(E * 2 * I, H, H, 12, 0.2),
        down: made(E * H, 96, I, 13, 0.2),
      };
      const gradientsOf = async (precision: "f32" | "f16") => {
        const f = ({ x, router, gateUp, down }: typeof parameters) =>
          moe(
            x,
            {
              router: matrixFromTensor(router.retain(), H),
              gateUp: matrixFromTensor(gateUp.retain(), H, precision),
              down: matrixFromTensor(down.retain(), I, precision),
            },
            { experts: E, topK: 2, normalise: true },
          );
        const { gradients } = pullback(f)(parameters, (y) => upload(device, fill(T * H, 3), y.shape));
        return Promise.all(Object.values(gradients).map((gradient) => gradient!.readFloat32()));
      };
      const [wide, halves] = [await gradientsOf("f32"), await gradientsOf("f16")];
      expect(halves).toHaveLength(4);
      // Halves of gates and ups, which are products of halves themselves.
      for (const [i, gradient] of halves.entries()) expectNear(gradient, wide[i]!, { relativeRms: 2 ** -9 });
      if (device.kind === "webgpu") expect(halves[0]).not.toEqual(wide[0]);
    });
  });

  test("shared expert and residual", async () => {
    const T = 2;
    const options = { experts: E, topK: 2, normalise: true };
    const weights = { router: rows(E, 11, 0.7), gateUp: rows(E * 2 * I, 12, 0.3), down: rows(E * H, 13, 0.3) };
    const wide = ({ data }: { data: Float32Array }) => Float64Array.from(data);
    const [router, gateUp, down] = [wide(weights.router), wide(weights.gateUp), wide(weights.down)];
    await device.scope(async () => {
      const matrix = ({ shape, data }: { shape: number[]; data: Float32Array }) =>
        matrixFromTensor(upload(device, data, shape), 32);
      const w = { router: matrix(weights.router), gateUp: matrix(weights.gateUp), down: matrix(weights.down) };
      await expectGradients(device, {
        operands: {
          x: { shape: [T, H] },
          output: { shape: [T, H] },
          coefficient: { shape: [T, 1] },
          residual: { shape: [T, H] },
        },
        run: ({ x, output, coefficient, residual }) =>
          moe(x!, w, {
            ...options,
            residual: { tensor: residual!, alpha: 2, beta: 0.5 },
            shared: { output: output!, coefficient: coefficient! },
          }),
        reference: ({ x, output, coefficient, residual }) =>
          moeReference({
            ...{ x: x!, router, gateUp, down, T, H, I, ...options },
            residual: { tensor: residual!, alpha: 2, beta: 0.5 },
            shared: { output: output!, coefficient: coefficient! },
          }),
      });
    });
  });
});

test("every WebGPU variant compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend([...moeGradientVariants(), routeGradientKernel])) {
    expect(messages, kernel.label).toEqual([]);
  }
});
