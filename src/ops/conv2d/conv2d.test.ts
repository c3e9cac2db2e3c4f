import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectGradients } from "../../../test/gradients.js";
import { expectNear } from "../../../test/near.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { conv2d } from "./conv2d.js";
import { conv2dReference } from "./conv2d.reference.js";
import { conv2dVariants, patchRanges } from "./patches.js";

type Four = readonly [number, number, number, number];
interface Case {
  readonly name: string;
  readonly x: Four;
  readonly w: Four;
  readonly stride?: number;
  readonly padding?: number;
  readonly bias?: boolean;
  /** Patches at a time. */
  readonly patches?: number;
}

const cases: readonly Case[] = [
  { name: "one number", x: [1, 1, 1, 1], w: [1, 1, 1, 1] },
  { name: "1 × 1", x: [2, 5, 3, 4], w: [3, 5, 1, 1], bias: true },
  { name: "1 × 1, stride 2", x: [1, 3, 5, 6], w: [4, 3, 1, 1], stride: 2 },
  { name: "3 × 3, padding 1", x: [2, 3, 6, 5], w: [4, 3, 3, 3], padding: 1, bias: true },
  { name: "3 × 3, stride 2, padding 1", x: [1, 4, 7, 8], w: [2, 4, 3, 3], stride: 2, padding: 1 },
  { name: "3 × 3 without padding", x: [1, 2, 5, 5], w: [3, 2, 3, 3] },
  { name: "an oblong kernel, wide padding", x: [2, 2, 4, 6], w: [3, 2, 2, 5], stride: 3, padding: 4, bias: true },
  { name: "images in turn", x: [5, 2, 4, 3], w: [3, 2, 3, 3], padding: 1, bias: true, patches: 25 },
  {
    name: "images in parts, stride 2",
    x: [2, 3, 7, 6],
    w: [2, 3, 3, 3],
    stride: 2,
    padding: 1,
    bias: true,
    patches: 7,
  },
  { name: "images in parts", x: [2, 2, 5, 6], w: [3, 2, 3, 2], padding: 1, bias: true, patches: 13 },
  { name: "a patch of a multiple of 32", x: [1, 8, 3, 3], w: [33, 8, 2, 2] },
];

const run = (c: Case) => ({
  stride: c.stride ?? 1,
  padding: c.padding ?? 0,
  ...(c.patches === undefined ? {} : { patchBytes: 4 * c.w[1] * c.w[2] * c.w[3] * c.patches }),
});
const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b);

describe.each(await devices())("conv2d on $label", (device) => {
  test.each(cases)("$name", async (c) => {
    const [x, w] = [fill(size(c.x), 1), fill(size(c.w), 2)];
    const bias = c.bias ? fill(c.w[0], 3) : undefined;
    const live = device.memory.live;
    await device.scope(async () => {
      const options = { ...run(c), bias: bias && upload(device, bias, [c.w[0]]) };
      const y = conv2d(upload(device, x, c.x), upload(device, w, c.w), options);
      const expected = conv2dReference(x, w, bias, { ...c, ...run(c) });
      expect(y.size).toBe(expected.length);
      const terms = c.w[1] * c.w[2] * c.w[3] + 1;
      // A sum of `terms` products of numbers of at most 1.
      expectNear(await y.readFloat32(), expected, { absolute: terms * terms * 2 ** -24 });
    });
    expect(device.memory.live).toBe(live);
  });

  test.each(cases.slice(1))("gradients: $name", async (c) => {
    await expectGradients(device, {
      operands: { x: { shape: c.x }, w: { shape: c.w }, bias: { shape: [c.w[0]] } },
      run: ({ x, w, bias }) => conv2d(x!, w!, { ...run(c), bias: bias! }),
      reference: ({ x, w, bias }) => conv2dReference(x!, w!, bias!, { ...c, ...run(c) }),
    });
  });

  test("what does not fit is refused", () => {
    device.scope(() => {
      const x = upload(device, fill(18, 1), [1, 2, 3, 3]);
      const w = upload(device, fill(18, 1), [1, 2, 3, 3]);
      const other = upload(device, fill(27, 1), [1, 3, 3, 3]);
      const large = upload(device, fill(50, 1), [1, 2, 5, 5]);
      expect(() => conv2d(x, other)).toThrow("conv2d: w expected [O, C=2, U, V] (as x), got [1, 3, 3, 3].");
      expect(() => conv2d(x, large)).toThrow(
        "conv2d: x expected at least [5, 5] places with padding 0, got [1, 2, 3, 3].",
      );
      expect(() => conv2d(x, w, { stride: 0 })).toThrow("conv2d: stride expected a whole number of 1 or more, got 0.");
      expect(() => conv2d(x, w, { bias: x })).toThrow("conv2d: bias expected [O=1] (as w)");
    });
  });
});

test("patches are made in ranges: whole images, or parts that end with their image", () => {
  const layout = {
    ...{ images: 5, channels: 1, height: 4, width: 4, outputs: 1, kernelHeight: 1, kernelWidth: 1 },
    ...{ stride: 1, padding: 0, outHeight: 4, outWidth: 4, depth: 1 },
  };
  const counts = (bytes: number) => patchRanges(layout, bytes).map(({ count }) => count);
  expect(counts(4 * 1000)).toEqual([80]);
  expect(counts(4 * 40)).toEqual([32, 32, 16]);
  expect(counts(4 * 10)).toEqual([10, 6, 10, 6, 10, 6, 10, 6, 10, 6]);
  expect(patchRanges(layout, 4 * 10)[3]).toEqual({ first: 26, count: 6 });
});

test("the WebGPU kernels compile without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend(conv2dVariants())) {
    expect(messages, kernel.label).toEqual([]);
  }
});
