import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { expectNear } from "../../../test/near.js";
import { upload } from "../../tensor/index.js";
import { weightFromFloat32 } from "../matmul/weights/create.js";
import { rmsNormReference } from "../rms-norm/rms-norm.reference.js";
import { moe, normedMoe } from "./moe.js";

const wave = (size: number, step: number): Float32Array =>
  Float32Array.from({ length: size }, (_, i) => Math.sin(1 + i * step));

describe.each(await devices())("normedMoe on $label", (device) => {
  test.each([
    // Folded up to the experts' first product, which a router of other kinds than f32 leaves alone.
    { T: 1, H: 64, E: 8, topK: 2, kind: "f32", experts: "int4", normalise: true, residual: "normed" },
    { T: 3, H: 32, E: 37, topK: 3, kind: "f32", normalise: false, residual: "input" },
    { T: 2, H: 160, E: 5, topK: 5, kind: "int8", normalise: true, residual: "none" },
    // Not folded: too many experts, and rows that are no whole vectors.
    { T: 2, H: 32, E: 65, topK: 1, kind: "f32", normalise: true, residual: "normed" },
    { T: 2, H: 36, E: 4, topK: 2, kind: "f16", normalise: true, residual: "input" },
  ] as const)("T=$T H=$H E=$E k=$topK $kind, residual $residual", async (c) => {
    const { T, H, E, topK, normalise } = c;
    const I = 37;
    // The CPU rounds tokens to 16 bits for integer weights.
    const kind = device.kind === "webgpu" && "experts" in c ? c.experts : "f32";
    const x = wave(T * H, 1.3);
    const gain = wave(H, 0.7);
    const liveBefore = device.memory.live;
    await device.scope(async () => {
      const w = {
        router: weightFromFloat32(device, wave(E * H, 0.11), E, H, c.kind),
        gateUp: weightFromFloat32(device, wave(E * 2 * I * H, 0.37), E * 2 * I, H, kind),
        down: weightFromFloat32(device, wave(E * H * I, 0.53), E * H, I, kind),
      };
      for (const matrix of Object.values(w)) device.track(matrix);
      const n = rmsNormReference(x, gain, { eps: 1e-5 });
      const choice = { experts: E, topK, normalise };
      const mix = { alpha: 0.5, beta: 2 };
      const u = upload(device, x, [T, H]);
      const nTensor = upload(device, Float32Array.from(n), [T, H]);
      const plain =
        c.residual === "none" ? {} : { residual: { ...mix, tensor: c.residual === "normed" ? nTensor : u } };
      const folded =
        c.residual === "none"
          ? {}
          : { residual: { ...mix, tensor: c.residual === "normed" ? ("normed" as const) : u } };
      const expected = await moe(nTensor, w, { ...choice, ...plain }).readFloat32();
      const norm = { weight: upload(device, gain, [H]), eps: 1e-5 };
      const { normed, product } = normedMoe(u, norm, w, { ...choice, ...folded });
      expectNear(await normed.readFloat32(), n, { relativeRms: 1e-6 });
      expectNear(await product.readFloat32(), expected, { relativeRms: 1e-5 });
    });
    expect(device.memory.live).toBe(liveBefore);
  });
});
