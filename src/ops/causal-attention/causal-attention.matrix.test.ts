/** The kernels for matrix units, emulated where there are none, against the CPU. */
import { expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { withEmulatedMatrices } from "../../../test/emulated-matrices.js";
import { fill } from "../../../test/fill.js";
import { expectNear, relativeRms } from "../../../test/near.js";
import type { Device } from "../../device/index.js";
import { buildStep } from "../../nn/step-buffer.js";
import { empty, upload } from "../../tensor/index.js";
import { launchCausalCpu } from "./causal-attention.launch-cpu.js";
import { launchCausalWebGpu } from "./causal-attention.launch-webgpu.js";

/**
 * Rounding to f16 errs by at most 2⁻¹¹ of a number. A result's terms have passed at most four roundings one after another (q and
 * k in a score, a probability, its other factor), whose errors differ from term to term.
 */
const TOLERANCE = { relativeRms: 4 * 2 ** -11 };

const opened = await devices();

test.each([
  { name: "rows of different lengths, a group of two", lengths: [66, 1], heads: 2, kvHeads: 1 },
  { name: "a window", lengths: [70], heads: 1, kvHeads: 1, window: 9 },
])("attention and its gradient with float16 operands: $name", async ({ lengths, heads, kvHeads, ...o }) => {
  const gpu = opened.find((device) => device.kind === "webgpu");
  if (!gpu) return;
  const headDim = 16;
  const T = lengths.reduce((a, b) => a + b, 0);
  const columns = (heads + 2 * kvHeads) * headDim;
  const run = (device: Device) =>
    device.scope(async () => {
      const step = buildStep(
        device,
        lengths.map((count, slot) => ({ slot, past: 0, ids: new Array<number>(count).fill(0) })),
      );
      const plan = {
        qkv: upload(device, fill(T * columns, 1), [T, columns]),
        out: empty(device, [T, heads * headDim]),
        logSums: empty(device, [T, heads]),
        options: { heads, kvHeads, headDim, scale: 0.7, precision: "f16", ...o },
        step,
      } as const;
      const gradient = {
        dOut: upload(device, fill(T * heads * headDim, 2), [T, heads * headDim]),
        dQkv: empty(device, [T, columns]),
        pulls: empty(device, [T, heads]),
      };
      for (const tensors of [undefined, gradient]) {
        if (device.kind === "cpu") launchCausalCpu(device, plan, tensors);
        else launchCausalWebGpu(withEmulatedMatrices(device), plan, tensors);
      }
      return Promise.all([plan.out, plan.logSums, gradient.dQkv].map((tensor) => tensor.readFloat32()));
    });
  const [rounded, exact] = [await run(gpu), await run(opened[0] as Device)];
  for (const [i, values] of exact.entries()) expectNear(rounded[i] as Float32Array, values, TOLERANCE);
  expect(relativeRms(rounded[0] as Float32Array, exact[0] as Float32Array)).toBeGreaterThan(1e-5);
});
