/** Gradients of an operation against central differences of its float64 reference. */
import { expect } from "vitest";
import type { Device } from "../src/device/index.js";
import { pullback } from "../src/ops/gradient/value-and-gradient.js";
import { type Tensor, upload } from "../src/tensor/index.js";
import { fill } from "./fill.js";
import { expectNear } from "./near.js";

export interface Operand {
  readonly shape: readonly number[];
  readonly data?: Float32Array;
}

export interface GradientCase {
  /** Differentiated operands by name. */
  readonly operands: Readonly<Record<string, Operand>>;
  /** The operation on the device. */
  readonly run: (tensors: Readonly<Record<string, Tensor>>) => Tensor;
  /** The same in float64. */
  readonly reference: (arrays: Readonly<Record<string, Float64Array>>) => ArrayLike<number>;
  /** Relative RMS of each gradient. Default 1e-4: central differences of a float64 function are good to 1e-8. */
  readonly tolerance?: number;
}

/** Checks every operand's gradient of Σ w · f with fixed weights w, and that nothing stays allocated. */
export async function expectGradients(device: Device, c: GradientCase): Promise<void> {
  const names = Object.keys(c.operands);
  const arrays = Object.fromEntries(
    names.map((name, i) => {
      const { shape, data } = c.operands[name] as Operand;
      return [
        name,
        data ??
          fill(
            shape.reduce((a, b) => a * b, 1),
            i + 1,
          ),
      ];
    }),
  );
  const before = device.memory.live;
  const tensors = Object.fromEntries(
    names.map((name) => [name, upload(device, arrays[name] as Float32Array, (c.operands[name] as Operand).shape)]),
  );
  let weights: Float32Array = new Float32Array(0);
  const { value, gradients } = pullback(c.run)(tensors, (out) => {
    weights = fill(out.size, 99);
    return upload(device, weights, out.shape);
  });
  const wide = () => Object.fromEntries(names.map((name) => [name, Float64Array.from(arrays[name] as Float32Array)]));
  const loss = (inputs: Record<string, Float64Array>) => {
    const out = c.reference(inputs);
    let sum = 0;
    for (let i = 0; i < out.length; i++) sum += (out[i] as number) * (weights[i] as number);
    return sum;
  };
  const inputs = wide();
  expectNear(await value.readFloat32(), Float32Array.from(c.reference(inputs)), { relativeRms: c.tolerance ?? 1e-4 });
  for (const name of names) {
    const operand = inputs[name] as Float64Array;
    const numeric = operand.map((x, i) => {
      const h = 1e-5 * Math.max(1, Math.abs(x));
      operand[i] = x + h;
      const up = loss(inputs);
      operand[i] = x - h;
      const down = loss(inputs);
      operand[i] = x;
      return (up - down) / (2 * h);
    });
    const gradient = gradients[name];
    if (!gradient) throw new Error(`no gradient for ${name}`);
    expectNear(await gradient.readFloat32(), numeric, { relativeRms: c.tolerance ?? 1e-4 });
    gradient.dispose();
  }
  value.dispose();
  for (const tensor of Object.values(tensors)) tensor.dispose();
  expect(device.memory.live).toBe(before);
}
