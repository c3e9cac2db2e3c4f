import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { expectGradients } from "../../../test/gradients.js";
import { expectNear } from "../../../test/near.js";
import type { Device } from "../../device/index.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { upload } from "../../tensor/index.js";
import { matrixFromTensor } from "../matmul/weight-matrix.js";
import { createWeightMatrix, weightCodecs, writeRows } from "../matmul/weights/create.js";
import { type Step, TOKEN_WORDS } from "../step/layout.js";
import { embeddingGradientKernel } from "./embedding.gradient.js";
import { embedding } from "./embedding.js";
import { embeddingReference } from "./embedding.reference.js";
import { embeddingVariants } from "./embedding.wgsl.js";

const V = 9;

function stepOf(device: Device, ids: readonly number[]): Step {
  const words = ids.flatMap((id, t) => [id, t, 0, 0]);
  const tokens = upload(device, words, [ids.length, TOKEN_WORDS], "i32");
  const rows = upload(device, [0, ids.length, 0, 0], [1, 4], "i32");
  return {
    tokens,
    rows,
    tiles: undefined,
    tokenCount: ids.length,
    rowCount: 1,
    isDecode: false,
    lengthBound: ids.length,
  };
}

const cases = (["f32", "f16", "bf16", "int8", "int4"] as const).flatMap((kind) => [
  { name: `${kind}, one token, padded columns`, kind, K: 5, ids: [3] },
  { name: `${kind}, whole columns, first, last, repeated and wrong ids`, kind, K: 64, ids: [0, V - 1, 4, 4, -1, V] },
  { name: `${kind}, two workgroups of columns`, kind, K: 259, ids: [2, 7] },
]);

describe.each(await devices())("embedding on $label", (device) => {
  test.each(cases)("$name", async ({ kind, K, ids }) => {
    const liveBefore = device.memory.live;
    const values = Float32Array.from({ length: V * K }, (_, i) => Math.sin(1 + i * 1.7));
    const encoded = weightCodecs[kind].encode(values, V, K, 32);
    const expected = embeddingReference(ids, weightCodecs[kind].decode(encoded, V, K, 32), K);
    await device.scope(async () => {
      using table = createWeightMatrix(device, { kind, rows: V, columns: K });
      writeRows(table, 0, V, encoded.codes, encoded.scales);
      const y = await embedding(stepOf(device, ids), table).readFloat32();
      // Float kinds are exact; scale · code is rounded once.
      expectNear(y, expected, { absolute: kind === "int8" || kind === "int4" ? 2 ** -24 : 0 });
    });
    expect(device.memory.live).toBe(liveBefore);
  });
});

describe.each(await devices())("the gradient of embedding on $label", (device) => {
  test("rows that several tokens name, and ids out of range", async () => {
    const ids = [3, 0, 3, -1, 8, 9, 3];
    const step = { ...stepOf(device, ids), ids };
    await expectGradients(device, {
      operands: { table: { shape: [V, 32] } },
      run: ({ table }) => embedding(step, matrixFromTensor(table!, 32)),
      reference: ({ table }) => embeddingReference(ids, table!, 32),
    });
    step.tokens.dispose();
    step.rows.dispose();
  });
});

test("every WebGPU variant compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend([...embeddingVariants(), embeddingGradientKernel])) {
    expect(messages, kernel.label).toEqual([]);
  }
});
