import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectGradients } from "../../../test/gradients.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { matrixFromTensor } from "../matmul/weight-matrix.js";
import { crossEntropy } from "./cross-entropy.js";
import { crossEntropyReference } from "./cross-entropy.reference.js";
import { crossEntropyVariants } from "./cross-entropy.wgsl.js";

const K = 32;

describe.each(await devices())("cross-entropy and its gradient on $label", (device) => {
  test.each([
    { name: "one piece", targets: [2, 0, 4], V: 5, chunk: 8 },
    { name: "pieces, the last one short; tokens without a target", targets: [9, -1, 3, 4, 8, -1], V: 10, chunk: 4 },
    { name: "a count of its own", targets: [1], V: 3, chunk: 2, count: 7 },
  ])("$name", async ({ targets, V, chunk, count }) => {
    await expectGradients(device, {
      operands: { x: { shape: [targets.length, K] }, w: { shape: [V, K] } },
      run: ({ x, w }) =>
        crossEntropy(x!, matrixFromTensor(w!, K), targets, {
          chunk,
          ...(count === undefined ? {} : { count }),
        }),
      reference: ({ x, w }) =>
        crossEntropyReference(x!, w!, targets, {
          K,
          stride: K,
          count: count ?? targets.filter((id) => id >= 0).length,
        }),
    });
  });

  test("a target outside the vocabulary is refused", () => {
    device.scope(() => {
      const x = upload(device, fill(K, 1), [1, K]);
      const w = matrixFromTensor(upload(device, fill(3 * K, 2), [3, K]), K);
      expect(() => crossEntropy(x, w, [3])).toThrow("crossEntropy: target 3; the vocabulary has 3 ids");
    });
  });
});

test("every WebGPU variant compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend(crossEntropyVariants())) {
    expect(messages, kernel.label).toEqual([]);
  }
});
