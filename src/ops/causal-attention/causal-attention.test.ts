import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { expectGradients } from "../../../test/gradients.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { buildStep } from "../../nn/step-buffer.js";
import { causalAttention, causalAttentionVariants } from "./causal-attention.js";
import { causalAttentionReference } from "./causal-attention.reference.js";

const cases = [
  { name: "one token", lengths: [1], heads: 1, kvHeads: 1, headDim: 6 },
  { name: "rows of different lengths", lengths: [3, 6, 1], heads: 2, kvHeads: 1, headDim: 6 },
  { name: "no groups", lengths: [5], heads: 3, kvHeads: 3, headDim: 6 },
  { name: "a window", lengths: [7, 2], heads: 2, kvHeads: 2, headDim: 8, window: 3 },
  { name: "more than a tile, a group of four", lengths: [1, 65], heads: 4, kvHeads: 1, headDim: 6 },
  { name: "a window over tiles", lengths: [70], heads: 1, kvHeads: 1, headDim: 8, window: 34 },
];

describe.each(await devices())("causal attention and its gradient on $label", (device) => {
  test.each(cases)("$name", async ({ lengths, ...o }) => {
    let firstToken = 0;
    const rows = lengths.map((tokenCount) => {
      const row = { firstToken, tokenCount };
      firstToken += tokenCount;
      return row;
    });
    using step = buildStep(
      device,
      lengths.map((count, slot) => ({ slot, past: 0, ids: new Array<number>(count).fill(0) })),
    );
    const scale = 1.7;
    await expectGradients(device, {
      operands: { qkv: { shape: [firstToken, (o.heads + 2 * o.kvHeads) * o.headDim] } },
      run: ({ qkv }) => causalAttention(qkv!, { ...o, scale }, step),
      reference: ({ qkv }) => causalAttentionReference({ qkv: qkv!, rows, scale, ...o }),
    });
  });
});

test("every WebGPU variant compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend(causalAttentionVariants())) {
    expect(messages, kernel.label).toEqual([]);
  }
});
