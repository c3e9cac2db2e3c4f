import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectGradients } from "../../../test/gradients.js";
import { expectNear } from "../../../test/near.js";
import { upload } from "../../tensor/index.js";
import { groupNormReference } from "../group-norm/group-norm.reference.js";
import { layerNorm } from "./layer-norm.js";

const cases = [
  { name: "one row", shape: [1, 64] },
  { name: "one channel", shape: [3, 1] },
  { name: "odd channels", shape: [2, 37] },
  { name: "rows longer than a workgroup, odd", shape: [3, 1027] },
  { name: "three axes", shape: [2, 3, 12] },
];

const reference = (x: ArrayLike<number>, weight: ArrayLike<number>, bias: ArrayLike<number>) =>
  groupNormReference(x, weight, bias, { groups: 1, places: 1, eps: 1e-5 });

describe.each(await devices())("layerNorm on $label", (device) => {
  test.each(cases)("$name", async ({ shape }) => {
    const C = shape.at(-1)!;
    const x = fill(
      shape.reduce((a, b) => a * b),
      1,
    );
    const [weight, bias] = [fill(C, 2), fill(C, 3)];
    const live = device.memory.live;
    await device.scope(async () => {
      const y = layerNorm(upload(device, x, shape), upload(device, weight, [C]), upload(device, bias, [C]), {
        eps: 1e-5,
      });
      expect(y.shape).toEqual(shape);
      expectNear(await y.readFloat32(), reference(x, weight, bias), { absolute: 2e-6 });
    });
    expect(device.memory.live).toBe(live);
  });

  test("gradients", () =>
    expectGradients(device, {
      operands: { x: { shape: [5, 37] }, weight: { shape: [37] }, bias: { shape: [37] } },
      run: ({ x, weight, bias }) => layerNorm(x!, weight!, bias!, { eps: 1e-5 }),
      reference: ({ x, weight, bias }) => reference(x!, weight!, bias!),
    }));

  test("weights of another length are refused", () => {
    device.scope(() => {
      const x = upload(device, [1, 2, 3, 4], [2, 2]);
      const [two, three] = [upload(device, [1, 2], [2]), upload(device, [1, 2, 3], [3])];
      expect(() => layerNorm(x, three, two, { eps: 0 })).toThrow("layerNorm: weight expected [C=2] (as x), got [3].");
    });
  });
});
