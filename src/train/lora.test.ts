import { describe, expect, test } from "vitest";
import { devices } from "../../test/devices.js";
import { relativeRms } from "../../test/near.js";
import { CountingSource, tinyModel } from "../../test/tiny-training.js";
import { memorySink, memorySource, openSafetensors, writeSafetensors } from "../formats/index.js";
import { type LanguageModel, ownNumbers } from "../models/index.js";
import { Tensor } from "../tensor/index.js";
import { Lora } from "./lora.js";
import { textGradient } from "./text-gradient.js";
import { Trainer } from "./trainer.js";

async function weights(model: LanguageModel): Promise<Map<string, Float32Array>> {
  const all = new Map<string, Float32Array>();
  for (const rows of model.tensors ?? []) {
    const holder = rows.holder instanceof Tensor ? rows.holder : rows.holder.codes;
    all.set(rows.name, ownNumbers(rows, await holder.readFloat32()));
  }
  return all;
}

const options = { rank: 3, alpha: 6, targets: ["q_proj", "o_proj", "qkv_proj", "w2"] };

describe.each(await devices())("LoRA on $label", (device) => {
  const isCpu = device.kind === "cpu";
  const source = () => new CountingSource({ rows: isCpu ? 8 : 2, length: 8, vocabulary: 48 });

  test("gradients of the adapters are those of the merged weights, taken apart", async () => {
    using model = await tinyModel(device);
    using lora = new Lora(model, options);
    const batch = await source().next();
    // B is zero at the beginning: give it something.
    for (const { name, tensor } of lora.tensors) {
      if (!name.endsWith("lora_B")) continue;
      const [rows = 0, stride = 0] = tensor.shape;
      tensor.write(Float32Array.from({ length: rows * stride }, (_, i) => (i % stride < 3 ? Math.sin(i) / 50 : 0)));
    }
    lora.push();
    const lossAt = async () => {
      const { loss } = textGradient(model, [], batch.rows, { targets: batch.targets });
      using value = loss;
      return (await value.readFloat32())[0] as number;
    };
    const { loss, gradients } = textGradient(model, lora.sources, batch.rows, { targets: batch.targets });
    loss.dispose();
    const pulled = lora.pull(gradients);
    let square = 0;
    const slopes: Float32Array[] = [];
    for (const gradient of pulled) {
      const slope = await gradient.readFloat32();
      slopes.push(slope);
      square += slope.reduce((sum, g) => sum + g * g, 0);
      gradient.dispose();
    }
    const before = await Promise.all(lora.tensors.map(({ tensor }) => tensor.readFloat32()));
    const step = 0.01 / square;
    const moved = async (factor: number) => {
      for (const [i, { tensor }] of lora.tensors.entries()) {
        tensor.write(before[i]!.map((x, j) => x + factor * step * slopes[i]![j]!));
      }
      lora.push();
      return lossAt();
    };
    expect(((await moved(1)) - (await moved(-1))) / (2 * step) / square).toBeCloseTo(1, 2);
  });

  test("training changes the adapted matrices only; saved and loaded they make the same model", async () => {
    const before = device.memory.live;
    {
      using model = await tinyModel(device);
      const start = await weights(model);
      const trainee = new Lora(model, options);
      using trainer = new Trainer(model, {
        ...{ source: source(), steps: 60, learningRate: 0.03, schedule: { kind: "constant" } as const, trainee },
        optimiser: { kind: "adamw", decay: 0, maxNorm: 1 },
      });
      const losses: number[] = [];
      for await (const { loss } of trainer.run({ until: isCpu ? 60 : 3 })) losses.push(loss);
      expect(losses.at(-1)!).toBeLessThan(losses[0]!);
      const end = await weights(model);
      const changed = [...end].filter(([name, values]) => relativeRms(values, start.get(name)!) > 0);
      const isAdapted = (name: string) => options.targets.some((target) => name.endsWith(`${target}.weight`));
      expect(changed.map(([name]) => name).sort()).toEqual([...end.keys()].filter(isAdapted).sort());

      const sink = memorySink();
      await writeSafetensors(sink, trainee.files());
      await using file = await openSafetensors(memorySource("adapters", sink.bytes()));
      expect([...file.entries.keys()]).toContain("base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight");
      expect(file.entries.get("base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight")?.shape).toEqual([
        32, 3,
      ]);
      using other = await tinyModel(device);
      using loaded = new Lora(other, { ...options, seed: "another" });
      await loaded.load(file);
      for (const [name, values] of await weights(other)) expect(values, name).toEqual(end.get(name));
      using small = new Lora(other, { ...options, rank: 2 });
      await expect(small.load(file)).rejects.toThrow(/the adapters do not fit: .*expected \[2, 32\], got \[3, 32\]/);
    }
    expect(device.memory.live).toBe(before);
  });

  test("a name that no matrix has is an error", async () => {
    using model = await tinyModel(device);
    expect(() => new Lora(model, { rank: 4, targets: ["query"] })).toThrow(
      "lora: the model has no matrix whose name ends with query",
    );
  });
});
