import { describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { expectNear } from "../../../test/near.js";
import { upload } from "../../tensor/index.js";
import { rmsNormReference } from "../rms-norm/rms-norm.reference.js";
import { matmul, normedMatmul } from "./matmul.js";
import { weightFromFloat32 } from "./weights/create.js";

const wave = (size: number, step: number): Float32Array =>
  Float32Array.from({ length: size }, (_, i) => Math.sin(1 + i * step));

const cases = [
  { T: 1, K: 64, N: 7, kind: "int8" },
  { T: 2, K: 96, N: 40, kind: "f32" },
  { T: 3, K: 320, N: 5, kind: "int4" },
  { T: 8, K: 32, N: 9, kind: "f16" },
  // Not folded: rows that are no whole vectors, and too many tokens.
  { T: 2, K: 37, N: 6, kind: "f32" },
  { T: 9, K: 32, N: 6, kind: "int8" },
] as const;
const norm = { eps: 1e-5 };

describe.each(await devices())("products with norms on $label", (device) => {
  test.each(cases)("normedMatmul: T=$T K=$K N=$N $kind", async ({ T, K, N, kind }) => {
    const x = wave(T * K, 1.3);
    const gain = wave(K, 0.7);
    const liveBefore = device.memory.live;
    await device.scope(async () => {
      const w = weightFromFloat32(device, wave(2 * N * K, 0.37), 2 * N, K, kind);
      device.track(w);
      const options = { gate: true, residual: { tensor: upload(device, wave(T * N, 2), [T, N]), alpha: 0.5, beta: 2 } };
      const n = rmsNormReference(x, gain, norm);
      const expected = await matmul(upload(device, Float32Array.from(n), [T, K]), w, options).readFloat32();
      const weight = upload(device, gain, [K]);
      const { normed, product } = normedMatmul(upload(device, x, [T, K]), { ...norm, weight }, w, options);
      expectNear(await normed.readFloat32(), n, { relativeRms: 1e-6 });
      // The CPU's 16-bit activations of int8 and int4 products round n differently.
      expectNear(await product.readFloat32(), expected, { relativeRms: device.kind === "cpu" ? 1e-4 : 1e-5 });
    });
    expect(device.memory.live).toBe(liveBefore);
  });

  test.each(cases)("multiplyNorm: T=$T K=$K N=$N $kind", async ({ T, K, N, kind }) => {
    const factor = wave(T * N, 1.1);
    const gain = wave(N, 0.9);
    const liveBefore = device.memory.live;
    await device.scope(async () => {
      const w = weightFromFloat32(device, wave(N * K, 0.37), N, K, kind);
      device.track(w);
      const x = upload(device, wave(T * K, 1.3), [T, K]);
      const multiply = upload(device, Float32Array.from(rmsNormReference(factor, gain, norm)), [T, N]);
      const expected = await matmul(x, w, { activation: "sigmoid", multiply }).readFloat32();
      const got = matmul(x, w, {
        activation: "sigmoid",
        multiply: upload(device, factor, [T, N]),
        multiplyNorm: { ...norm, weight: upload(device, gain, [N]) },
      });
      expectNear(await got.readFloat32(), expected, { relativeRms: 1e-5 });
    });
    expect(device.memory.live).toBe(liveBefore);
  });
});
