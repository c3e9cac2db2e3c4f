import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { expectGradients } from "../../../test/gradients.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { activate } from "../elementwise/elementwise.js";
import { activationReference } from "../elementwise/elementwise.reference.js";
import { columnsKernel, joinColumns, splitColumns } from "./columns.js";
import { splitColumnsReference } from "./columns.reference.js";

describe.each(await devices())("columns on $label", (device) => {
  test("apart and together again in another order, one part unused", async () => {
    const widths = [2, 3, 1, 4];
    await expectGradients(device, {
      operands: { x: { shape: [3, 10] } },
      run: ({ x }) => {
        const [a, b, unused, c] = splitColumns(x!, widths);
        const lit = activate(b!, "silu");
        const joined = joinColumns([c!, lit, a!]);
        for (const tensor of [a, b, unused, c, lit]) tensor?.dispose();
        return joined;
      },
      reference: ({ x }) => {
        const [a, b, , c] = splitColumnsReference(x!, widths);
        return Float64Array.from({ length: 27 }, (_, i) => {
          const [row, column] = [Math.floor(i / 9), i % 9];
          if (column < 4) return c![row * 4 + column]!;
          if (column < 7) return activationReference.silu(b![row * 3 + column - 4]!);
          return a![row * 2 + column - 7]!;
        });
      },
    });
  });
});

test("the WebGPU kernel compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend([columnsKernel])) {
    expect(messages, kernel.label).toEqual([]);
  }
});
