import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectGradients } from "../../../test/gradients.js";
import { expectNear } from "../../../test/near.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { fft2, fftTables } from "./fft2.js";
import { fft2Reference } from "./fft2.reference.js";
import { fftVariants } from "./transform.js";

const cases = [
  { name: "one number", images: 3, height: 1, width: 1 },
  { name: "two by two, centred", images: 1, height: 2, width: 2, centred: true },
  { name: "powers of two", images: 2, height: 8, width: 16 },
  { name: "powers of two, centred", images: 1, height: 16, width: 4, centred: true },
  { name: "a line longer than a workgroup", images: 1, height: 2, width: 1024, centred: true },
  { name: "more lines than a task", images: 3, height: 4, width: 11 },
  { name: "a prime, centred", images: 2, height: 7, width: 8, centred: true },
  { name: "composite sizes, centred", images: 1, height: 15, width: 20, centred: true },
  { name: "composite sizes", images: 1, height: 6, width: 5 },
];

describe.each(await devices())("fft2 on $label", (device) => {
  test.each(cases)("$name", async ({ images, ...options }) => {
    const { height, width } = options;
    const shape = [images, height, width, 2];
    const x = fill(images * height * width * 2, 1);
    const live = device.memory.live;
    await device.scope(async () => {
      using tables = fftTables(device, options);
      const input = upload(device, x, shape);
      for (const inverse of [false, true]) {
        const y = fft2(input, tables, { inverse });
        expect(y.shape).toEqual(shape);
        // Unitary: as large as x. Products add 2 N numbers a line.
        expectNear(await y.readFloat32(), fft2Reference(x, options, inverse), { relativeRms: 4e-7 });
        const back = fft2(y, tables, { inverse: !inverse });
        expectNear(await back.readFloat32(), x, { relativeRms: 6e-7 });
      }
    });
    expect(device.memory.live).toBe(live);
  });

  test.each([
    { height: 4, width: 8, centred: true },
    { height: 3, width: 4, centred: false },
  ])("gradient of $height by $width", async (options) => {
    using tables = fftTables(device, options);
    for (const inverse of [false, true]) {
      await expectGradients(device, {
        operands: { x: { shape: [2, options.height, options.width, 2] } },
        run: ({ x }) => fft2(x!, tables, { inverse }),
        reference: ({ x }) => fft2Reference(x!, options, inverse),
      });
    }
  });

  test("a constant has one frequency, which centred stands in the middle", async () => {
    await device.scope(async () => {
      for (const [height, width] of [
        [8, 4],
        [5, 6],
      ] as const) {
        using tables = fftTables(device, { height, width, centred: true });
        const ones = Float32Array.from({ length: height * width * 2 }, (_, i) => 1 - (i % 2));
        const y = await fft2(upload(device, ones, [height, width, 2]), tables).readFloat32();
        const expected = new Float32Array(y.length);
        expected[2 * (Math.floor(height / 2) * width + Math.floor(width / 2))] = Math.sqrt(height * width);
        expectNear(y, expected, { absolute: 3e-6 });
      }
    });
  });

  test("what does not fit is refused", () => {
    device.scope(() => {
      using tables = fftTables(device, { height: 4, width: 6 });
      const x = upload(device, fill(48, 1), [6, 4, 2]);
      expect(() => fft2(x, tables)).toThrow("fft2: x expected [..., 4, 6, 2] (as the tables), got [6, 4, 2].");
      expect(() => fftTables(device, { height: 0, width: 6 })).toThrow("fftTables: height expected 1 or more, got 0.");
    });
  });
});

test("every WebGPU variant compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend(fftVariants())) {
    expect(messages, kernel.label).toEqual([]);
  }
});
