import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { expectGradients } from "../../../test/gradients.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { zeros } from "../../tensor/index.js";
import { type ActivationName, activate, add, addBias, blend, gated, mix, multiply, scale } from "./elementwise.js";
import {
  activateReference,
  addBiasReference,
  blendReference,
  gatedReference,
  mixReference,
  multiplyReference,
} from "./elementwise.reference.js";
import { elementwiseVariants } from "./elementwise.wgsl.js";

const shapes = [
  [1, 1],
  [3, 7],
  [2, 32],
  [66, 4],
] as const;
const activations: readonly ActivationName[] = ["silu", "sigmoid", "gelu"];

describe.each(await devices())("elementwise operations and their gradients on $label", (device) => {
  test.each(shapes)("[%i, %i]", async (T, N) => {
    const a = { shape: [T, N] };
    const pair = { operands: { a, b: a } };
    await expectGradients(device, {
      ...pair,
      run: (t) => add(t["a"]!, t["b"]!),
      reference: (x) => mixReference(x["a"]!, x["b"]!, 1, 1),
    });
    await expectGradients(device, {
      ...pair,
      run: (t) => mix(t["a"]!, t["b"]!, 3.5, -0.5),
      reference: (x) => mixReference(x["a"]!, x["b"]!, 3.5, -0.5),
    });
    await expectGradients(device, {
      ...pair,
      run: (t) => multiply(t["a"]!, t["b"]!),
      reference: (x) => multiplyReference(x["a"]!, x["b"]!),
    });
    await expectGradients(device, {
      operands: { a },
      run: (t) => scale(t["a"]!, -2),
      reference: (x) => mixReference(x["a"]!, x["a"]!, -2, 0),
    });
    await expectGradients(device, {
      operands: { a, bias: { shape: [N] } },
      run: (t) => addBias(t["a"]!, t["bias"]!),
      reference: (x) => addBiasReference(x["a"]!, x["bias"]!),
    });
    await expectGradients(device, {
      operands: { a, b: a, logit: { shape: [T, 1] } },
      run: (t) => blend(t["a"]!, t["b"]!, t["logit"]!),
      reference: (x) => blendReference(x["a"]!, x["b"]!, x["logit"]!),
    });
    for (const activation of activations) {
      await expectGradients(device, {
        operands: { a },
        run: (t) => activate(t["a"]!, activation),
        reference: (x) => activateReference(x["a"]!, activation),
      });
      await expectGradients(device, {
        operands: { a: { shape: [T, 2 * N] } },
        run: (t) => gated(t["a"]!, activation),
        reference: (x) => gatedReference(x["a"]!, N, activation),
      });
    }
  });

  test("a tensor that is used twice gets both gradients", async () => {
    await expectGradients(device, {
      operands: { a: { shape: [2, 5] } },
      run: (t) => {
        using square = multiply(t["a"]!, t["a"]!);
        return multiply(square, t["a"]!);
      },
      reference: (x) => x["a"]!.map((v) => v ** 3),
    });
  });

  test("another length is refused", () => {
    device.scope(() => {
      expect(() => elementwiseMisfit(device)).toThrow("mix: b expected [1, 2] (as a), got [1, 3].");
    });
  });
});

function elementwiseMisfit(device: Parameters<typeof zeros>[0]) {
  return add(zeros(device, [1, 2]), zeros(device, [1, 3]));
}

test("every WebGPU variant compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend(elementwiseVariants())) {
    expect(messages, kernel.label).toEqual([]);
  }
});
