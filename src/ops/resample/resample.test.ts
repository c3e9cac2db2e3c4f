import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectGradients } from "../../../test/gradients.js";
import { expectNear } from "../../../test/near.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { averagePool, resampleVariants, upsampleNearest } from "./resample.js";
import { averagePoolReference, upsampleReference } from "./resample.reference.js";

const cases = [
  { shape: [1, 1, 1, 1], factor: 1 },
  { shape: [2, 3, 5, 7], factor: 2 },
  { shape: [1, 2, 6, 3], factor: 3 },
  { shape: [3, 1, 2, 33], factor: 4 },
] as const;

describe.each(await devices())("resampling on $label", (device) => {
  test.each(cases)("$shape by $factor", async ({ shape, factor }) => {
    const [N, C, H, W] = shape;
    const live = device.memory.live;
    await device.scope(async () => {
      const x = fill(N * C * H * W, 1);
      const large = upsampleNearest(upload(device, x, shape), factor);
      expect(large.shape).toEqual([N, C, H * factor, W * factor]);
      expect(await large.readFloat32()).toEqual(Float32Array.from(upsampleReference(x, [H, W], factor)));

      const fine = fill(N * C * H * W * factor ** 2, 2);
      const small = averagePool(upload(device, fine, large.shape), factor);
      expect(small.shape).toEqual(shape);
      const expected = averagePoolReference(fine, [H * factor, W * factor], factor);
      // factor² numbers of at most 1 are added, then divided by their count.
      expectNear(await small.readFloat32(), expected, { absolute: (factor ** 2 + 2) * 2 ** -24 });
    });
    expect(device.memory.live).toBe(live);
  });

  test("gradients", async () => {
    await expectGradients(device, {
      operands: { x: { shape: [1, 2, 3, 2] } },
      run: ({ x }) => upsampleNearest(x!, 2),
      reference: ({ x }) => upsampleReference(x!, [3, 2], 2),
    });
    await expectGradients(device, {
      operands: { x: { shape: [1, 2, 4, 6] } },
      run: ({ x }) => averagePool(x!, 2),
      reference: ({ x }) => averagePoolReference(x!, [4, 6], 2),
    });
  });

  test("what does not fit is refused", () => {
    device.scope(() => {
      const x = upload(device, fill(6, 1), [1, 1, 2, 3]);
      expect(() => averagePool(x, 2)).toThrow(
        "averagePool: x expected [N, C, H, W], H and W multiples of 2, got [1, 1, 2, 3].",
      );
      expect(() => upsampleNearest(x, 0)).toThrow("upsampleNearest: factor expected 1 or more, got 0.");
    });
  });
});

test("the WebGPU kernels compile without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend(resampleVariants())) {
    expect(messages, kernel.label).toEqual([]);
  }
});
