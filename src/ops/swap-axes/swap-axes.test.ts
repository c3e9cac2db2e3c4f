import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectGradients } from "../../../test/gradients.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { swapAxes, swapAxesWebGpu } from "./swap-axes.js";
import { swapAxesReference } from "./swap-axes.reference.js";

const cases = [
  { shape: [1, 1, 1, 1], axis: 0 },
  { shape: [3, 4], axis: 0 },
  { shape: [2, 5, 7], axis: 1 },
  { shape: [2, 3, 5, 2], axis: 1 },
  { shape: [3, 65, 2, 3], axis: 0 },
  { shape: [2, 3, 70, 1], axis: 2 },
];

describe.each(await devices())("swapAxes on $label", (device) => {
  test.each(cases)("axis $axis of $shape", async ({ shape, axis }) => {
    const size = shape.reduce((a, b) => a * b);
    const x = fill(size, 1);
    const live = device.memory.live;
    await device.scope(async () => {
      const y = swapAxes(upload(device, x, shape), axis);
      const product = (part: readonly number[]) => part.reduce((a, b) => a * b, 1);
      const flat = [product(shape.slice(0, axis)), shape[axis]!, shape[axis + 1]!, product(shape.slice(axis + 2))];
      expect(y.shape).toEqual([...shape.slice(0, axis), shape[axis + 1], shape[axis], ...shape.slice(axis + 2)]);
      expect(await y.readFloat32()).toEqual(Float32Array.from(swapAxesReference(x, flat)));
    });
    expect(device.memory.live).toBe(live);
  });

  test("gradient", () =>
    expectGradients(device, {
      operands: { x: { shape: [2, 3, 4, 2] } },
      run: ({ x }) => swapAxes(x!, 1),
      reference: ({ x }) => swapAxesReference(x!, [2, 3, 4, 2]),
    }));

  test("an axis that is not there is refused", () => {
    device.scope(() => {
      const x = upload(device, [1, 2], [1, 2]);
      expect(() => swapAxes(x, 1)).toThrow("swapAxes: x expected axes 1 and 2, got [1, 2].");
    });
  });
});

test("the WebGPU kernel compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend([swapAxesWebGpu])) {
    expect(messages, kernel.label).toEqual([]);
  }
});
