import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectGradients } from "../../../test/gradients.js";
import { expectNear } from "../../../test/near.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { buildStep } from "../../nn/step-buffer.js";
import { upload, zeros } from "../../tensor/index.js";
import { lightningGradientVariants } from "./gradient.launch-webgpu.js";
import { lightningGradient } from "./lightning-attention.gradient.js";
import { lightningAttention } from "./lightning-attention.js";
import { lightningAttentionReference } from "./lightning-attention.reference.js";

const [H, D] = [2, 6];
const slopes = Float32Array.of(0.7, 0.05);

/** Rows of 3 and 5 tokens in slots 1 and 0. */
const rows = [
  { firstToken: 0, tokenCount: 3, slot: 1 },
  { firstToken: 3, tokenCount: 5, slot: 0 },
];
const ids = (count: number) => new Array<number>(count).fill(0);

describe.each(await devices())("gradients of lightning attention on $label", (device) => {
  test.each([
    { name: "rows in other slots", rows },
    { name: "one token", rows: [{ firstToken: 0, tokenCount: 1, slot: 0 }] },
    {
      name: "more than a chunk",
      rows: [
        { firstToken: 0, tokenCount: 2, slot: 0 },
        { firstToken: 2, tokenCount: 66, slot: 1 },
      ],
    },
  ])("of q, k and v, from zero states: $name", async ({ rows }) => {
    using decay = upload(device, slopes, [H]);
    using state = zeros(device, [2, H, D, D]);
    using step = buildStep(
      device,
      rows.map(({ slot, tokenCount }) => ({ slot, past: 0, ids: ids(tokenCount) })),
    );
    const T = rows.reduce((sum, { tokenCount }) => sum + tokenCount, 0);
    await expectGradients(device, {
      operands: { qkv: { shape: [T, H * 3 * D] } },
      run: ({ qkv }) => {
        device.clear(state);
        return lightningAttention(qkv!, state, decay, step);
      },
      reference: ({ qkv }) =>
        lightningAttentionReference({
          qkv: qkv!,
          state: new Float64Array(2 * H * D * D),
          decay: slopes,
          rows,
          heads: H,
          headDim: D,
        }).out,
    });
  });

  test("a dead row has no gradient", async () => {
    await device.scope(async () => {
      const { dQkv } = lightningGradient({
        qkv: upload(device, fill(2 * H * 3 * D, 1), [2, H * 3 * D]),
        state: upload(device, fill(H * D * D, 2), [1, H, D, D]),
        decay: upload(device, slopes, [H]),
        dOut: upload(device, fill(2 * H * D, 3), [2, H * D]),
        step: buildStep(device, [
          { slot: 0, past: 0, ids: ids(1) },
          { slot: -1, past: 0, ids: ids(1) },
        ]),
      });
      expect((await dQkv.readFloat32()).subarray(H * 3 * D)).toEqual(new Float32Array(H * 3 * D));
    });
  });

  test("of the state before the step, and through the state after it", async () => {
    const T = 70;
    const size = H * D * D;
    const [qkv, initial, dOut, dFinal] = [fill(T * H * 3 * D, 1), fill(size, 2), fill(T * H * D, 3), fill(size, 4)];
    const loss = (q: Float64Array, s: Float64Array) => {
      const { out, state } = lightningAttentionReference({
        ...{ qkv: q, state: s, decay: slopes, heads: H, headDim: D },
        rows: [{ firstToken: 0, tokenCount: T, slot: 0 }],
      });
      return out.reduce((sum, x, i) => sum + x * dOut[i]!, 0) + state.reduce((sum, x, i) => sum + x * dFinal[i]!, 0);
    };
    const [q, s] = [Float64Array.from(qkv), Float64Array.from(initial)];
    const numeric = (x: Float64Array) =>
      x.map((value, i) => {
        x[i] = value + 1e-5;
        const up = loss(q, s);
        x[i] = value - 1e-5;
        const down = loss(q, s);
        x[i] = value;
        return (up - down) / 2e-5;
      });
    await device.scope(async () => {
      const { dQkv, dState } = lightningGradient({
        qkv: upload(device, qkv, [T, H * 3 * D]),
        state: upload(device, initial, [1, H, D, D]),
        decay: upload(device, slopes, [H]),
        dOut: upload(device, dOut, [T, H * D]),
        dFinal: upload(device, dFinal, [1, H, D, D]),
        step: buildStep(device, [{ slot: 0, past: 0, ids: ids(T) }]),
      });
      expectNear(await dQkv.readFloat32(), numeric(q), { relativeRms: 1e-5 });
      expectNear(await dState.readFloat32(), numeric(s), { relativeRms: 1e-5 });
    });
  });
});

test("every WebGPU variant compiles without a message", async () => {
  for (const { kernel, messages } of await compileOnNullBackend(lightningGradientVariants())) {
    expect(messages, kernel.label).toEqual([]);
  }
});
