import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectGradients } from "../../../test/gradients.js";
import { expectNear } from "../../../test/near.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { conv2d } from "./conv2d.js";
import { conv2dReference } from "./conv2d.reference.js";
import { conv2dVariants, imagesAtOnce } from "./patches.js";

type Four = readonly [number, number, number, number];
interface Case {
  readonly name: string;
  readonly x: Four;
  readonly w: Four;
  readonly stride?: number;
  readonly padding?: number;
  readonly bias?: boolean;
}

const cases: readonly Case[] = [
  { name: "one number", x: [1, 1, 1, 1], w: [1, 1, 1, 1] },
  { name: "1 × 1", x: [2, 5, 3, 4], w: [3, 5, 1, 1], bias: true },
  { name: "1 × 1, stride 2", x: [1, 3, 5, 6], w: [4, 3, 1, 1], stride: 2 },
  { name: "3 × 3, padding 1", x: [2, 3, 6, 5], w: [4, 3, 3, 3], padding: 1, bias: true },
  { name: "3 × 3, stride 2, padding 1", x: [1, 4, 7, 8], w: [2, 4, 3, 3], stride: 2, padding: 1 },
  { name: "3 × 3 without padding", x: [1, 2, 5, 5], w: [3, 2, 3, 3] },
  { name: "an oblong kernel, wide padding", x: [2, 2, 4, 6], w: [3, 2, 2, 5], stride: 3, padding: 4, bias: true },
  { name: "a patch of a multiple of 32", x: [1, 8, 3, 3], w: [33, 8, 2, 2] },
];

const run = (c: Case) => ({ stride: c.stride ?? 1, padding: c.padding ?? 0 });
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

describe("images whose patches do not fit at once", async () => {
  const [cpu] = await devices();
  test("are convolved some at a time, gradients too", async () => {
    const c: Case = { name: "", x: [3, 64, 72, 72], w: [2, 64, 8, 8], stride: 1 };
    const layout = {
      ...{ images: 3, channels: 64, height: 72, width: 72, outputs: 2, kernelHeight: 8, kernelWidth: 8 },
      ...{ stride: 1, padding: 0, outHeight: 65, outWidth: 65, depth: 64 * 64 },
    };
    expect(imagesAtOnce(layout)).toBe(1);
    const { pullback } = await import("../gradient/value-and-gradient.js");
    const x = fill(size(c.x), 1);
    const w = fill(size(c.w), 2);
    const operands = { x: upload(cpu!, x, c.x), w: upload(cpu!, w, c.w) };
    const ones = (y: { shape: readonly number[]; size: number }) =>
      upload(cpu!, new Float32Array(y.size).fill(1), y.shape);
    const { value, gradients } = pullback(({ x, w }: typeof operands) => conv2d(x, w))(operands, ones);
    const y = await value.readFloat32();
    // A place of each image, by hand.
    for (const n of [0, 1, 2]) {
      let expected = 0;
      for (let ch = 0; ch < 64; ch++)
        for (let u = 0; u < 8; u++)
          for (let v = 0; v < 8; v++)
            expected += w[((64 + ch) * 8 + u) * 8 + v]! * x[((n * 64 + ch) * 72 + 10 + u) * 72 + 20 + v]!;
      expectNear([y[((n * 2 + 1) * 65 + 10) * 65 + 20]!], [expected], { absolute: 1e-3 });
    }
    // With dy = 1, dW is the sum of x over the places that the kernel's number sees.
    let seen = 0;
    for (let n = 0; n < 3; n++)
      for (let i = 0; i < 65; i++) for (let j = 0; j < 65; j++) seen += x[((n * 64 + 5) * 72 + i + 3) * 72 + j + 4]!;
    const dW = await gradients.w!.readFloat32();
    expectNear([dW[(5 * 8 + 3) * 8 + 4]!], [seen], { absolute: 2e-2 });
    // And dx in the middle is the sum of all weights of the channel.
    let all = 0;
    for (let o = 0; o < 2; o++) for (let k = 0; k < 64; k++) all += w[(o * 64 + 7) * 64 + k]!;
    const dx = await gradients.x!.readFloat32();
    expectNear([dx[((2 * 64 + 7) * 72 + 40) * 72 + 40]!], [all], { absolute: 1e-4 });
    for (const tensor of [value, ...Object.values(gradients), ...Object.values(operands)]) tensor.dispose();
  });
});

test("the WebGPU kernels compile without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend(conv2dVariants())) {
    expect(messages, kernel.label).toEqual([]);
  }
});
