/** The kernels for matrix units, emulated where there are none, against the CPU. */
import { expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { withEmulatedMatrices } from "../../../test/emulated-matrices.js";
import { fill } from "../../../test/fill.js";
import { expectNear, relativeRms } from "../../../test/near.js";
import type { Device } from "../../device/index.js";
import { buildStep } from "../../nn/step-buffer.js";
import { empty, upload } from "../../tensor/index.js";
import { lightningGradientOnCpu } from "./gradient.launch-cpu.js";
import { lightningGradientOnWebGpu } from "./gradient.launch-webgpu.js";

/** Rounding to f16 errs by at most 2⁻¹¹ of a number; a result's terms have passed at most four roundings one after another. */
const TOLERANCE = { relativeRms: 4 * 2 ** -11 };

const opened = await devices();

test.each([
  { name: "states near one", magnitude: 1 },
  { name: "states beyond f16", magnitude: 1e7 },
  { name: "gradients of states below it", magnitude: 1e-12 },
])("lightning attention's gradient with float16 operands: $name", async ({ magnitude }) => {
  const gpu = opened.find((device) => device.kind === "webgpu");
  if (!gpu) return;
  const [H, D, lengths] = [2, 16, [66, 1, 3]] as const;
  const T = lengths.reduce((a, b) => a + b, 0);
  const size = lengths.length * H * D * D;
  const times = (values: Float32Array) => values.map((x) => x * magnitude);
  const run = (device: Device) =>
    device.scope(async () => {
      const input = {
        qkv: upload(device, fill(T * H * 3 * D, 1), [T, H * 3 * D]),
        state: upload(device, times(fill(size, 2)), [lengths.length, H, D, D]),
        decay: upload(device, Float32Array.of(0.3, 0.01), [H]),
        dOut: upload(device, fill(T * H * D, 3), [T, H * D]),
        step: buildStep(
          device,
          lengths.map((count, slot) => ({
            slot: slot === 2 ? -1 : slot,
            past: 0,
            ids: new Array<number>(count).fill(0),
          })),
        ),
        precision: "f16",
      } as const;
      const dQkv = empty(device, input.qkv.shape);
      const dState = upload(device, times(fill(size, 4)), input.state.shape);
      if (device.kind === "cpu") lightningGradientOnCpu(device, input, dQkv, dState);
      else lightningGradientOnWebGpu(withEmulatedMatrices(device), input, dQkv, dState);
      return Promise.all([dQkv, dState].map((tensor) => tensor.readFloat32()));
    });
  const [rounded, exact] = [await run(gpu), await run(opened[0] as Device)];
  for (const [i, values] of exact.entries()) expectNear(rounded[i] as Float32Array, values, TOLERANCE);
  expect(relativeRms(rounded[0] as Float32Array, exact[0] as Float32Array)).toBeGreaterThan(1e-5);
});
