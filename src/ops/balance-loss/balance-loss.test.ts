import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectGradients } from "../../../test/gradients.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { balanceLoss } from "./balance-loss.js";
import { balanceLossReference } from "./balance-loss.reference.js";
import { balanceVariants } from "./balance-loss.wgsl.js";

describe.each(await devices())("load-balancing loss on $label", (device) => {
  test.each([
    { name: "one layer, one token", tokens: [1], E: 3, topK: 1 },
    { name: "layers of different lengths, more than a block", tokens: [70, 3], E: 5, topK: 2 },
    { name: "more experts than a workgroup", tokens: [4], E: 67, topK: 3 },
  ])("$name", async ({ tokens, E, topK }) => {
    const names = tokens.map((_, i) => `z${i}`);
    await expectGradients(device, {
      operands: Object.fromEntries(tokens.map((T, i) => [`z${i}`, { shape: [T, E] }])),
      run: (z) =>
        balanceLoss(
          names.map((name) => z[name]!),
          { topK, coefficient: 0.3 },
        ),
      reference: (z) =>
        Float64Array.of(
          balanceLossReference(
            names.map((name) => z[name]!),
            { E, topK, coefficient: 0.3 },
          ),
        ),
    });
  });

  test("k times the coefficient where all are chosen alike", async () => {
    await device.scope(async () => {
      const E = 4;
      const z = Float32Array.from({ length: E * E }, (_, i) => (i % (E + 1) === 0 ? 1e-3 : 0));
      const loss = balanceLoss([upload(device, z, [E, E])], { topK: 1, coefficient: 0.01 });
      expect((await loss.readFloat32())[0]).toBeCloseTo(0.01, 8);
    });
  });

  test("layers of different experts are refused", () => {
    device.scope(() => {
      const layers = [upload(device, fill(4, 1), [2, 2]), upload(device, fill(6, 1), [2, 3])];
      expect(() => balanceLoss(layers, { topK: 1, coefficient: 1 })).toThrow(
        "balanceLoss: logits expected [T, E=2] in each layer, got [2, 3].",
      );
    });
  });
});

test("every WebGPU variant compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend(balanceVariants())) {
    expect(messages, kernel.label).toEqual([]);
  }
});
