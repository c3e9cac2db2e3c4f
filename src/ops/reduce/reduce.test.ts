import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectGradients } from "../../../test/gradients.js";
import { expectNear } from "../../../test/near.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { meanAxes, reduceVariants, repeatAxis, sumAxes } from "./reduce.js";
import { repeatAxisReference, sumAxesReference } from "./reduce.reference.js";

const cases = [
  { name: "one number", shape: [1], axes: [0] },
  { name: "everything", shape: [3, 5, 7], axes: [0, 1, 2] },
  { name: "the first axis", shape: [9, 37], axes: [0] },
  { name: "the last axis", shape: [9, 37], axes: [1] },
  { name: "the middle, in stages", shape: [2, 200, 19], axes: [1] },
  { name: "long rows, two stages", shape: [3, 5000], axes: [1] },
  { name: "a bias of images", shape: [3, 4, 5, 30], axes: [0, 2, 3] },
  { name: "neighbours in the middle", shape: [2, 3, 33, 5], axes: [2, 1] },
];

describe.each(await devices())("sums over axes on $label", (device) => {
  test.each(cases)("$name", async ({ shape, axes }) => {
    const size = shape.reduce((a, b) => a * b);
    const x = fill(size, 1);
    const count = axes.reduce((product, axis) => product * shape[axis]!, 1);
    const live = device.memory.live;
    await device.scope(async () => {
      const input = upload(device, x, shape);
      const expected = sumAxesReference(x, shape, axes);
      // Stages of 64: at most 64 roundings each of sums of at most Σ|x| ≤ count.
      const bound = 64 * 2 * 2 ** -24 * count + 1e-7;
      const sum = sumAxes(input, axes);
      expect(sum.shape).toEqual(
        shape.filter((_, axis) => !axes.includes(axis)).length === 0
          ? [1]
          : shape.filter((_, axis) => !axes.includes(axis)),
      );
      expectNear(await sum.readFloat32(), expected, { absolute: bound });
      const mean = meanAxes(input, axes);
      expectNear(
        await mean.readFloat32(),
        expected.map((y) => y / count),
        { absolute: bound / count + 1e-7 },
      );
    });
    expect(device.memory.live).toBe(live);
  });

  test("repetition along a new axis", async () => {
    const y = fill(2 * 37, 1);
    await device.scope(async () => {
      for (const axis of [0, 1, 2]) {
        const x = repeatAxis(upload(device, y, [2, 37]), axis, 3);
        expect(x.shape).toEqual([2, 37].toSpliced(axis, 0, 3));
        expect(await x.readFloat32()).toEqual(Float32Array.from(repeatAxisReference(y, [2, 37], axis, 3)));
      }
    });
  });

  test("gradients", async () => {
    const shape = [2, 70, 3];
    const sum = { x: { shape } };
    await expectGradients(device, {
      operands: sum,
      run: ({ x }) => sumAxes(x!, [1]),
      reference: ({ x }) => sumAxesReference(x!, shape, [1]),
    });
    await expectGradients(device, {
      operands: { x: { shape: [3, 4, 5] } },
      run: ({ x }) => meanAxes(x!, [0, 2]),
      reference: ({ x }) => sumAxesReference(x!, [3, 4, 5], [0, 2]).map((y) => y / 15),
    });
    await expectGradients(device, {
      operands: { y: { shape: [3, 4] } },
      run: ({ y }) => repeatAxis(y!, 1, 5),
      reference: ({ y }) => repeatAxisReference(y!, [3, 4], 1, 5),
    });
  });

  test("axes that are not there are refused", () => {
    device.scope(() => {
      const x = upload(device, [1, 2], [1, 2]);
      expect(() => sumAxes(x, [2])).toThrow("sumAxes: x expected at least one axis, each once, of [2], got [1, 2].");
      expect(() => meanAxes(x, [1, 1])).toThrow("meanAxes: x expected");
      expect(() => repeatAxis(x, 3, 2)).toThrow("repeatAxis: y expected axis 3 of 0 to 2");
    });
  });
});

test("the WebGPU kernels compile without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend(reduceVariants())) {
    expect(messages, kernel.label).toEqual([]);
  }
});
