import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { expectGradients } from "../../../test/gradients.js";
import { NoGradientError, record, type Tensor, upload, zeros } from "../../tensor/index.js";
import { activate, add, multiply, scale } from "../elementwise/elementwise.js";
import { checkpoint, pullback, valueAndGradient } from "./value-and-gradient.js";

describe.each(await devices())("valueAndGradient on $label", (device) => {
  test("temporaries may be disposed of, and scopes left, before the gradient passes", async () => {
    await expectGradients(device, {
      operands: { a: { shape: [3, 4] }, b: { shape: [3, 4] } },
      run: ({ a, b }) =>
        device.scope(() => {
          const product = multiply(a!, b!);
          const s = activate(product, "silu");
          product.dispose();
          return add(s, scale(a!, 0.5));
        }),
      reference: ({ a, b }) => a!.map((x, i) => (x * b![i]!) / (1 + Math.exp(-x * b![i]!)) + 0.5 * x),
    });
  });

  test("views of a whole tensor pass gradients in their own shapes", async () => {
    await expectGradients(device, {
      operands: { a: { shape: [2, 6] } },
      run: ({ a }) => {
        using wide = scale(a!, 2);
        using tall = wide.reshape([4, 3]);
        using lit = activate(tall, "silu");
        using back = lit.reshape([2, 6]);
        return multiply(back, wide);
      },
      reference: ({ a }) => a!.map((x) => (4 * x * x) / (1 + Math.exp(-2 * x))),
    });
  });

  test("a checkpoint has the same gradients and keeps less", async () => {
    const layer = ([x, w]: readonly Tensor[]): Tensor =>
      device.scope(() => activate(multiply(activate(multiply(x!, w!), "silu"), w!), "gelu"));
    const run = async (isWrapped: boolean) => {
      using x = upload(device, [1, -2, 0.5, 3], [2, 2]);
      using w = upload(device, [0.3, 0.1, -0.7, 0.9], [2, 2]);
      const before = device.memory.live;
      let kept = 0;
      const { value, gradients } = pullback(() => (isWrapped ? checkpoint(layer, [x, w]) : layer([x, w])))(
        { x, w },
        (y) => {
          kept = device.memory.live - before;
          return upload(device, [1, 2, 3, 4], y.shape);
        },
      );
      const read = [await value.readFloat32(), await gradients.x!.readFloat32(), await gradients.w!.readFloat32()];
      for (const tensor of [value, gradients.x, gradients.w]) tensor?.dispose();
      expect(device.memory.live).toBe(before);
      return { read, kept };
    };
    const [plain, wrapped] = [await run(false), await run(true)];
    expect(wrapped.read).toEqual(plain.read);
    expect(wrapped.kept).toBeLessThan(plain.kept);
  });

  test("an operation without a gradient is named", () => {
    device.scope(() => {
      const x = zeros(device, [1]);
      const f = valueAndGradient(({ x }: { x: Tensor }) => {
        const y = zeros(device, [1]);
        record("mystery", [x], [y]);
        return y;
      });
      expect(() => f({ x })).toThrow(NoGradientError);
      expect(() => f({ x })).toThrow("mystery has no gradient");
    });
  });

  test("only a number has a gradient", () => {
    device.scope(() => {
      const x = zeros(device, [2]);
      expect(() => valueAndGradient(() => scale(x, 2))({ x })).toThrow(
        "valueAndGradient: value expected one number, got [2].",
      );
    });
  });
});
