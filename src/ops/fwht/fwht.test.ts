import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { randomArray } from "../../../test/kv-batch.js";
import { expectNear } from "../../../test/near.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { fwht, fwhtVariants, widestBlock } from "./fwht.js";
import { fwhtFloat32, fwhtReference } from "./fwht.reference.js";

test("every WebGPU variant compiles", async () => {
  expect((await compileOnNullBackend(fwhtVariants())).filter(({ messages }) => messages.length > 0)).toEqual([]);
});

const cases = [
  { channels: 1, width: 1 },
  { channels: 6, width: 2 },
  { channels: 4, width: 4 },
  { channels: 40, width: 8 },
  { channels: 80, width: 16 },
  { channels: 96, width: 32 },
  { channels: 128, width: 64 },
  { channels: 128, width: 128 },
  { channels: 256, width: 256 },
  { channels: 1536, width: 512 },
];

test.each(cases)("the float32 order of $channels in blocks of $width is the transform", ({ channels, width }) => {
  const x = randomArray(2 * channels, channels);
  expectNear(fwhtFloat32(x.slice(), width), fwhtReference(x, width), { absolute: 2e-6 });
});

describe.each(await devices())("fwht on $label", (device) => {
  test.each(cases)("$channels in blocks of $width: the reference's bits", async ({ channels, width }) => {
    const x = randomArray(3 * channels, width, 5);
    const live = device.memory.live;
    await device.scope(async () => {
      const y = fwht(upload(device, x, [3, channels]), width);
      expect(await y.read()).toEqual(fwhtFloat32(x.slice(), width));
    });
    expect(device.memory.live).toBe(live);
  });

  test("twice is the identity; the default width is the widest", async () => {
    const x = randomArray(96, 4);
    await device.scope(async () => {
      expectNear(await fwht(fwht(upload(device, x, [1, 96]))).readFloat32(), x, { absolute: 1e-6 });
    });
    expect([1, 64, 96, 80, 100].map(widestBlock)).toEqual([1, 64, 32, 16, 4]);
  });

  test("a width that does not fit is refused", () => {
    device.scope(() => {
      const x = upload(device, randomArray(24, 1), [2, 12]);
      expect(() => fwht(x, 3)).toThrow("fwht: width expected a power of two that divides 12, got [3].");
      expect(() => fwht(x, 8)).toThrow("fwht: width expected a power of two that divides 12, got [8].");
    });
  });
});
