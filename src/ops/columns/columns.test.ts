import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { expectGradients } from "../../../test/gradients.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { activate } from "../elementwise/elementwise.js";
import { activationReference } from "../elementwise/elementwise.reference.js";
import { columnsVariants, joinColumns, splitColumns } from "./columns.js";
import { splitColumnsReference } from "./columns.reference.js";

describe.each(await devices())("columns on $label", (device) => {
  test.each([
    ["odd widths", 1],
    ["widths of vectors", 4],
  ] as const)("apart and together again in another order, one part unused: %s", async (_, unit) => {
    const widths = [2 * unit, 3 * unit, unit, 4 * unit];
    await expectGradients(device, {
      operands: { x: { shape: [3, 10 * unit] } },
      run: ({ x }) => {
        const [a, b, unused, c] = splitColumns(x!, widths);
        const lit = activate(b!, "silu");
        const joined = joinColumns([c!, lit, a!]);
        for (const tensor of [a, b, unused, c, lit]) tensor?.dispose();
        return joined;
      },
      reference: ({ x }) => {
        const [a, b, , c] = splitColumnsReference(x!, widths);
        const N = 9 * unit;
        return Float64Array.from({ length: 3 * N }, (_, i) => {
          const [row, column] = [Math.floor(i / N), i % N];
          if (column < 4 * unit) return c![row * 4 * unit + column]!;
          if (column < 7 * unit) return activationReference.silu(b![row * 3 * unit + column - 4 * unit]!);
          return a![row * 2 * unit + column - 7 * unit]!;
        });
      },
    });
  });
});

test("the WebGPU kernels compile without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend(columnsVariants())) {
    expect(messages, kernel.label).toEqual([]);
  }
});
