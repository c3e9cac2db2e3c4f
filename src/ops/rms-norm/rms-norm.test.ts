import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { expectGradients } from "../../../test/gradients.js";
import { expectNear } from "../../../test/near.js";
import { WebGpuDevice } from "../../device/index.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { rmsNormGradientVariants } from "./rms-norm.gradient.wgsl.js";
import { rmsNorm } from "./rms-norm.js";
import { rmsNormWebGpuKernels } from "./rms-norm.launch-webgpu.js";
import { rmsNormReference } from "./rms-norm.reference.js";

const cases = [
  { name: "one row", T: 1, C: 64 },
  { name: "one channel", T: 3, C: 1 },
  { name: "odd channels", T: 2, C: 37 },
  { name: "rows longer than a workgroup, odd", T: 3, C: 1027 },
  { name: "rows longer than a workgroup, of vectors", T: 2, C: 1032 },
  { name: "zeros: eps alone decides", T: 2, C: 32, magnitude: 0 },
  { name: "large values", T: 1, C: 48, magnitude: 1e15 },
  { name: "small values, below eps", T: 1, C: 48, magnitude: 1e-6 },
] as const;

const eps = 1e-6;
const opened = await devices();
const plain =
  opened.length > 1 ? await WebGpuDevice.open({ allowSoftware: true, disableFeatures: ["subgroups"] }) : undefined;
const tested = [
  ...opened.map((device) => ({ device, label: device.label })),
  ...(plain ? [{ device: plain, label: `${plain.label} without subgroups` }] : []),
];

describe.each(tested)("rmsNorm on $label", ({ device }) => {
  test.each(cases)("$name", async (c) => {
    const { T, C } = c;
    const magnitude = "magnitude" in c ? c.magnitude : 1;
    const x = Float32Array.from({ length: T * C }, (_, i) => magnitude * Math.sin(1 + i * 1.3));
    const weight = Float32Array.from({ length: C }, (_, i) => 1 + 0.5 * Math.cos(i));
    const liveBefore = device.memory.live;
    await device.scope(async () => {
      const y = rmsNorm(upload(device, x, [T, C]), upload(device, weight, [C]), { eps });
      const expected = rmsNormReference(x, weight, { eps });
      // A sum of C squares errs by at most C · 2⁻²⁴ of itself, the root by half of that; then a few roundings of values that
      // are at most √C times the largest weight.
      const bound = (C / 2 + 8) * 2 ** -24 * 1.5 * Math.sqrt(C);
      expectNear(await y.readFloat32(), expected, { absolute: bound });
    });
    expect(device.memory.live).toBe(liveBefore);
  });

  test.each([
    [1, 8],
    [5, 37],
    [65, 12],
    [34, 68],
  ])("gradients of %i tokens of %i channels", async (T, C) => {
    await expectGradients(device, {
      operands: { x: { shape: [T, C] }, weight: { shape: [C] } },
      run: ({ x, weight }) => rmsNorm(x!, weight!, { eps: 1e-5 }),
      reference: ({ x, weight }) => rmsNormReference(x!, weight!, { eps: 1e-5 }),
    });
  });

  test("refuses a weight of another length", () => {
    device.scope(() => {
      const x = upload(device, [1, 2, 3, 4], [2, 2]);
      const weight = upload(device, [1, 2, 3], [3]);
      expect(() => rmsNorm(x, weight, { eps })).toThrow("rmsNorm: weight expected [C=2] (as x), got [3].");
    });
  });
});

test("every WebGPU variant compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend([
    ...rmsNormWebGpuKernels(),
    ...rmsNormGradientVariants(),
  ])) {
    expect(messages, kernel.label).toEqual([]);
  }
});
