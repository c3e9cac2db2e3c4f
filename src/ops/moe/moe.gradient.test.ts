import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectGradients } from "../../../test/gradients.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { matrixFromTensor } from "../matmul/weight-matrix.js";
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
