import { describe, expect, test } from "vitest";
import { devices } from "../../test/devices.js";
import { relativeRms } from "../../test/near.js";
import { CountingSource, tinyModel } from "../../test/tiny-training.js";
import type { Device } from "../device/index.js";
import { trainableTensors } from "../models/index.js";
import type { BatchSource } from "./data/batch.js";
import { textGradient } from "./text-gradient.js";
import { DivergenceError, type StepReport, Trainer, type TrainerOptions } from "./trainer.js";

const rowsOf = (device: Device) => ({ rows: device.kind === "cpu" ? 8 : 2, length: 8, vocabulary: 48 });

function options(device: Device, over: Partial<TrainerOptions> = {}): TrainerOptions {
  return {
    source: new CountingSource(rowsOf(device)),
    steps: 40,
    learningRate: 0.01,
    schedule: { kind: "constant", warmupSteps: 2 },
    optimiser: { kind: "adamw", maxNorm: 1 },
    ...over,
  };
}

async function reports(trainer: Trainer, until: number): Promise<StepReport[]> {
  const all: StepReport[] = [];
  for await (const report of trainer.run({ until })) all.push(report);
  return all;
}

const losses = async (trainer: Trainer, until: number) => (await reports(trainer, until)).map(({ loss }) => loss);

describe.each(await devices())("Trainer on $label", (device) => {
  const isCpu = device.kind === "cpu";

  test.each(["adamw", "muon"] as const)("%s: the loss falls, and live bytes stay where they are", async (kind) => {
    const before = device.memory.live;
    {
      using model = await tinyModel(device);
      const own = { steps: isCpu ? 40 : 5, optimiser: { kind, maxNorm: 1 } } as const;
      using trainer = new Trainer(model, options(device, own));
      const live: number[] = [];
      const all: StepReport[] = [];
      for (const until of [1, 3, isCpu ? 8 : 5]) {
        all.push(...(await reports(trainer, until)));
        live.push(device.memory.live);
      }
      expect(live[2]).toBe(live[1]);
      if (isCpu) all.push(...(await reports(trainer, 40)));
      expect(all.map(({ step }) => step)).toEqual(all.map((_, i) => i + 1));
      expect(all.at(-1)!.loss).toBeLessThan(isCpu ? 0.5 * all[0]!.loss : all[0]!.loss);
      expect(all[0]!.rate).toBe(0.005);
      expect(all[1]!.rate).toBe(0.01);
      expect(all.every(({ isGood, gradientNorm }) => isGood && gradientNorm > 0)).toBe(true);
    }
    expect(device.memory.live).toBe(before);
  });

  test("a state goes on with the same bits", async () => {
    const count = isCpu ? 6 : 4;
    using model = await tinyModel(device);
    using whole = new Trainer(model, options(device));
    const all = await losses(whole, count);

    using first = await tinyModel(device);
    using one = new Trainer(first, options(device));
    const before = await losses(one, count / 2);
    using second = await tinyModel(device);
    using two = new Trainer(second, options(device));
    for (const [i, { tensor }] of two.trainee.tensors.entries()) {
      tensor.write(await one.trainee.tensors[i]!.tensor.readFloat32());
    }
    const kept = new Map([...one.optimiser.state()].map((tensor) => [tensor.name, tensor]));
    for (const tensor of two.optimiser.state()) tensor.write(await kept.get(tensor.name)!.read());
    two.restore(JSON.parse(JSON.stringify(one.state())));
    expect([...before, ...(await losses(two, count))]).toEqual(all);
  });

  test("recomputation has the same gradients and keeps less", async () => {
    using model = await tinyModel(device);
    const trained = trainableTensors(model.tensors ?? []);
    const { rows } = await new CountingSource({ ...rowsOf(device), length: isCpu ? 64 : 8 }).next();
    const run = async (recompute: boolean) => {
      device.resetPeak();
      const before = device.memory.peak;
      const { loss, gradients } = textGradient(model, trained, rows, { recompute });
      const peak = device.memory.peak - before;
      const read = [await loss.readFloat32()];
      for (const gradient of gradients) read.push((await gradient?.readFloat32()) ?? new Float32Array(0));
      for (const tensor of [loss, ...gradients]) tensor?.dispose();
      return { peak, read };
    };
    const [plain, again] = [await run(false), await run(true)];
    for (const [i, values] of again.read.entries()) expect(relativeRms(values, plain.read[i]!)).toBeLessThan(1e-5);
    if (isCpu) expect(again.peak).toBeLessThan(0.8 * plain.peak);
  });

  // What the software adapter would add to this is a minute of compiling: the loss's own tests run there.
  test.runIf(isCpu)("the load-balancing loss is added and reaches the routers", async () => {
    using model = await tinyModel(device);
    const trained = trainableTensors(model.tensors ?? []);
    const { rows } = await new CountingSource(rowsOf(device)).next();
    const live = device.memory.live;
    const run = async (balance: number) => {
      const { loss, gradients } = textGradient(model, trained, rows, { balance });
      const value = (await loss.readFloat32())[0]!;
      const router = (model.tensors ?? []).findIndex(({ name }) => name.endsWith("block_sparse_moe.gate.weight"));
      const gradient = await gradients[router]!.readFloat32();
      for (const tensor of [loss, ...gradients]) tensor?.dispose();
      return { value, gradient };
    };
    const [plain, balanced] = [await run(0), await run(0.5)];
    // The coefficient times one where two experts are chosen alike, and twice that where one has all tokens.
    expect(balanced.value - plain.value).toBeGreaterThan(0.5 - 1e-4);
    expect(balanced.value - plain.value).toBeLessThan(1 + 1e-4);
    expect(relativeRms(balanced.gradient, plain.gradient)).toBeGreaterThan(1e-3);
    expect(device.memory.live).toBe(live);
  });

  test("a NaN stops the training, names the step and the tensor, and changes nothing", async () => {
    using model = await tinyModel(device);
    using trainer = new Trainer(model, options(device));
    await losses(trainer, 1);
    const poisoned = model.tensors!.find(({ name }) => name === "model.layers.1.input_layernorm.weight")!;
    const holder = trainer.trainee.tensors.find(({ name }) => name === poisoned.name)!.tensor;
    holder.write((await holder.readFloat32()).fill(1e38));
    const error = await losses(trainer, 3).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(DivergenceError);
    expect((error as Error).message).toMatch(/^step 2: .*appears first in the output of layer 1 \(hidden\.2\)/);
    expect((await holder.readFloat32())[0]).toBe(Math.fround(1e38));
  });

  test("an exploding loss stops it too", async () => {
    using model = await tinyModel(device);
    const own = { explosion: { factor: 0.5, steps: 2 } };
    using trainer = new Trainer(model, options(device, own));
    await expect(losses(trainer, 6)).rejects.toThrow(
      /^step 3: the loss .* is above 0\.5 times its mean .* for 2 steps\. .*the largest gradient beside its tensor/,
    );
  });

  test("scaled gradients give the same steps", async () => {
    const run = async (precision: "f32" | "f16") => {
      using model = await tinyModel(device);
      using trainer = new Trainer(model, options(device, { precision }));
      const all = await reports(trainer, isCpu ? 6 : 3);
      return all;
    };
    const [plain, scaled] = [await run("f32"), await run("f16")];
    for (const [i, { loss, lossScale, gradientNorm }] of scaled.entries()) {
      expect(Math.abs(loss - plain[i]!.loss)).toBeLessThan(1e-5 * loss);
      expect(Math.abs(gradientNorm - plain[i]!.gradientNorm)).toBeLessThan(1e-3 * gradientNorm);
      expect(lossScale).toBe(32_768);
    }
  });

  test("several batches a step are one large one", async () => {
    using model = await tinyModel(device);
    const { rows, length, vocabulary } = rowsOf(device);
    const single = (): BatchSource => new CountingSource({ rows: rows / 2, length, vocabulary });
    const joined = (): BatchSource => {
      const source = single();
      return {
        next: async () => {
          const [a, b] = [await source.next(), await source.next()];
          return { rows: [...a.rows, ...b.rows], targets: [...a.targets, ...b.targets] };
        },
        position: () => source.position(),
        restore: (position) => source.restore(position),
      };
    };
    using a = new Trainer(model, options(device, { source: single(), accumulate: 2 }));
    const [accumulated] = await reports(a, 1);
    using other = await tinyModel(device);
    using b = new Trainer(other, options(device, { source: joined() }));
    const [whole] = await reports(b, 1);
    expect(Math.abs(accumulated!.loss - whole!.loss)).toBeLessThan(1e-5);
    expect(Math.abs(accumulated!.gradientNorm / whole!.gradientNorm - 1)).toBeLessThan(1e-5);
    expect([accumulated!.tokens, accumulated!.targets]).toEqual([whole!.tokens, whole!.targets]);
  });

  test("validation is the mean over all targets", async () => {
    using model = await tinyModel(device);
    const source = new CountingSource(rowsOf(device));
    const batches = [await source.next(), await source.next()];
    using trainer = new Trainer(model, options(device));
    const mean = await trainer.validate(batches);
    const each = await Promise.all(batches.map((batch) => trainer.validate([batch])));
    expect(mean).toBeCloseTo((each[0]! + each[1]!) / 2, 5);
  });
});
