import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { fill } from "../../../test/fill.js";
import { expectGradients } from "../../../test/gradients.js";
import { expectNear } from "../../../test/near.js";
import { compileOnNullBackend } from "../../device/webgpu/check-variants.js";
import { buildStep } from "../../nn/step-buffer.js";
import { upload, zeros } from "../../tensor/index.js";
import { lightningGradient } from "./lightning-attention.gradient.js";
import { lightningGradientVariants } from "./lightning-attention.gradient.wgsl.js";
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
  test("of q, k and v, from zero states", async () => {
    using decay = upload(device, slopes, [H]);
    using state = zeros(device, [2, H, D, D]);
    using step = buildStep(
      device,
      rows.map(({ slot, tokenCount }) => ({ slot, past: 0, ids: ids(tokenCount) })),
    );
    await expectGradients(device, {
      operands: { qkv: { shape: [8, H * 3 * D] } },
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

  test("of the state before the step, and through the state after it", async () => {
    const T = 4;
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
