/** Training on both devices: the same losses. */
import { expect, test } from "vitest";
import type { Device } from "../src/device/index.js";
import { Trainer } from "../src/train/trainer.js";
import { devices } from "./devices.js";
import { CountingSource, tinyModel } from "./tiny-training.js";

const [cpu, webgpu] = (await devices()) as [Device, Device | undefined];

async function losses(device: Device, steps: number): Promise<number[]> {
  using model = await tinyModel(device);
  using trainer = new Trainer(model, {
    source: new CountingSource({ rows: 8, length: 32, vocabulary: 48 }),
    ...{ steps, learningRate: 2e-3, schedule: { kind: "cosine", warmupSteps: 5 } as const },
    optimiser: { kind: "adamw", maxNorm: 1 },
  });
  const all: number[] = [];
  for await (const { loss } of trainer.run()) all.push(loss);
  return all;
}

test.skipIf(!webgpu)("20 steps of 256 tokens on the CPU and on WebGPU", { timeout: 240_000 }, async () => {
  const a = await losses(cpu, 20);
  const b = await losses(webgpu as Device, 20);
  const apart = a.map((loss, i) => Math.abs(loss - (b[i] as number)) / loss);
  expect(apart[0]).toBeLessThan(1e-6);
  expect(apart[19]).toBeLessThan(1e-4);
  expect(a[19]).toBeLessThan(0.9 * (a[0] as number));
});
