import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectGradients } from "../../../test/gradients.js";
import { expectNear } from "../../../test/near.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { groupNorm } from "./group-norm.js";
import { groupNormVariants } from "./group-norm.launch.js";
import { groupNormReference } from "./group-norm.reference.js";

const cases = [
  { name: "one group", shape: [2, 3, 5, 7], groups: 1 },
  { name: "a group a channel", shape: [1, 4, 3, 3], groups: 4 },
  { name: "rows longer than a workgroup, odd", shape: [2, 6, 13, 11], groups: 2 },
  { name: "no places", shape: [3, 12], groups: 3 },
  { name: "rows of several blocks", shape: [1, 2, 37, 41], groups: 1 },
  { name: "a mean of a thousand deviations", shape: [2, 4, 6, 6], groups: 2, mean: 500 },
  { name: "all the same: eps alone decides", shape: [1, 4, 2, 2], groups: 2, magnitude: 0, mean: 3 },
];

describe.each(await devices())("groupNorm on $label", (device) => {
  test.each(cases)("$name", async ({ shape, groups, mean = 0, magnitude = 1 }) => {
    const size = shape.reduce((a, b) => a * b);
    const C = shape[1]!;
    const x = fill(size, 1).map((value) => mean + magnitude * value);
    const weight = fill(C, 2);
    const bias = fill(C, 3);
    const live = device.memory.live;
    await device.scope(async () => {
      const y = groupNorm(upload(device, x, shape), upload(device, weight, [C]), upload(device, bias, [C]), {
        groups,
        eps: 1e-5,
      });
      const expected = groupNormReference(x, weight, bias, { groups, places: size / shape[0]! / C, eps: 1e-5 });
      // x − mean keeps what the mean's last digit leaves: 2⁻²⁴ · |mean| of a deviation of 0.5; the sums err by a few digits more.
      const bound = 2e-6 + Math.abs(mean) * 2 ** -23 * 3;
      expectNear(await y.readFloat32(), expected, { absolute: bound });
    });
    expect(device.memory.live).toBe(live);
  });

  test.each([
    { shape: [2, 4, 3, 5], groups: 2 },
    { shape: [1, 3, 17, 17], groups: 1 },
  ])("gradients of $shape", async ({ shape, groups }) => {
    const C = shape[1]!;
    const places = shape[2]! * shape[3]!;
    await expectGradients(device, {
      operands: { x: { shape }, weight: { shape: [C] }, bias: { shape: [C] } },
      run: ({ x, weight, bias }) => groupNorm(x!, weight!, bias!, { groups, eps: 1e-5 }),
      reference: ({ x, weight, bias }) => groupNormReference(x!, weight!, bias!, { groups, places, eps: 1e-5 }),
    });
  });

  test("what does not fit is refused", () => {
    device.scope(() => {
      const x = upload(device, fill(12, 1), [1, 6, 2]);
      const [six, three] = [upload(device, fill(6, 1), [6]), upload(device, fill(3, 1), [3])];
      expect(() => groupNorm(x, six, six, { groups: 4, eps: 0 })).toThrow(
        "groupNorm: x expected [N, a multiple of groups = 4, …], got [1, 6, 2].",
      );
      expect(() => groupNorm(x, six, three, { groups: 2, eps: 0 })).toThrow(
        "groupNorm: bias expected [C=6] (as x), got [3].",
      );
    });
  });
});

test("every WebGPU variant compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend(groupNormVariants())) {
    expect(messages, kernel.label).toEqual([]);
  }
});
