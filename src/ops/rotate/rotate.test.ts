import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { expectGradients } from "../../../test/gradients.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { buildStep } from "../../nn/step-buffer.js";
import { ropeTable } from "../rope/rope.js";
import { rotate, rotateVariants } from "./rotate.js";
import { rotateReference } from "./rotate.reference.js";

describe.each(await devices())("rotate and its gradient on $label", (device) => {
  test.each([
    { heads: 2, kvHeads: 1, headDim: 8, rotaryDim: 8 },
    { heads: 3, kvHeads: 3, headDim: 10, rotaryDim: 4 },
  ])("$heads/$kvHeads heads of $headDim, $rotaryDim channels turned", async (o) => {
    const [theta, past] = [10_000, 2040];
    using rope = ropeTable(device, { rotaryDim: o.rotaryDim, theta, maxPositions: 4096 });
    using step = buildStep(device, [{ slot: 0, past, ids: [0, 0, 0] }]);
    const columns = o.heads + 2 * o.kvHeads;
    await expectGradients(device, {
      operands: { x: { shape: [3, columns * o.headDim] } },
      run: ({ x }) => rotate(x!, { ...o, rope }, step),
      reference: ({ x }) =>
        rotateReference({
          ...{ x: x!, columns, turnedHeads: o.heads + o.kvHeads, theta },
          ...{ headDim: o.headDim, rotaryDim: o.rotaryDim },
          positions: [past, past + 1, past + 2],
        }),
    });
  });
});

test("the WebGPU kernel compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend(rotateVariants())) {
    expect(messages, kernel.label).toEqual([]);
  }
});
