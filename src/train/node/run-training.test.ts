import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { devices } from "../../../test/devices.js";
import { CountingSource, tinyConfig, tinyModel } from "../../../test/tiny-training.js";
import type { Device } from "../../device/index.js";
import { directoryFolder, openCheckpointDirectory } from "../../formats/node/index.js";
import { loadLanguageModel } from "../../models/index.js";
import { Trainer, type TrainerOptions } from "../trainer.js";
import { type CreateFile, checkpointSteps, writeCheckpoint } from "./checkpoint-folders.js";
import { readMetrics } from "./metrics.js";
import { newestCheckpoint, restoreTrainer, runTraining, textFile } from "./run-training.js";

let out = "";
beforeEach(async () => {
  out = await mkdtemp(join(tmpdir(), "fulgur-train-"));
});
afterEach(() => rm(out, { recursive: true }));

const companions = [textFile("config.json", JSON.stringify(tinyConfig))];

const options = (device: Device, steps: number, over: Partial<TrainerOptions> = {}): TrainerOptions => ({
  source: new CountingSource({ rows: device.kind === "cpu" ? 4 : 2, length: 8, vocabulary: 48 }),
  ...{ steps, learningRate: 0.01, schedule: { kind: "constant" } },
  optimiser: { kind: "adamw", maxNorm: 1 },
  ...over,
});

describe.each(await devices())("training with a folder on $label", (device) => {
  test.each([{ kind: "adamw", emaDecay: 0.9 }, { kind: "muon" }] as const)(
    "$kind: stopped and resumed it gives the same bits, and each checkpoint is a model",
    async (optimiser) => {
      const count = device.kind === "cpu" ? 6 : 4;
      const losses: number[] = [];
      const onStep = ({ loss }: { loss: number }) => void losses.push(loss);
      {
        using model = await tinyModel(device);
        using trainer = new Trainer(model, options(device, count, { optimiser }));
        await runTraining(trainer, { out: join(out, "whole"), companions, onStep });
      }
      const whole = losses.splice(0);
      expect(whole).toHaveLength(count);

      const folder = join(out, "parts");
      {
        using model = await tinyModel(device);
        using trainer = new Trainer(model, options(device, count, { optimiser }));
        const stop = new AbortController();
        const result = await runTraining(trainer, {
          ...{ out: folder, companions, checkpointEvery: 1, keep: 2, signal: stop.signal },
          onStep(report) {
            onStep(report);
            if (report.step === count / 2) stop.abort();
          },
        });
        expect(result).toMatchObject({ step: count / 2, isInterrupted: true });
      }
      expect(await checkpointSteps(folder)).toEqual([count / 2 - 1, count / 2]);
      const newest = (await newestCheckpoint(folder))!;
      expect(newest.step).toBe(count / 2);
      using model = await loadLanguageModel(device, directoryFolder(newest.path));
      using trainer = new Trainer(model, options(device, count, { optimiser }));
      await restoreTrainer(trainer, newest.path);
      expect(trainer.step).toBe(count / 2);
      await runTraining(trainer, { out: folder, companions, onStep });
      expect(losses).toEqual(whole);
      expect((await readMetrics(folder)).map(({ step, loss }) => [step, loss])).toEqual(
        whole.map((loss, i) => [i + 1, loss]),
      );
      expect(await readFile(join(folder, "report.html"), "utf8")).toContain("<svg");
      const files = await readdir((await newestCheckpoint(folder))!.path);
      expect(files.includes("average.safetensors")).toBe(optimiser.kind === "adamw");
    },
  );
});

describe("checkpoint folders", () => {
  let cpu: Device;
  beforeAll(async () => {
    [cpu] = (await devices()) as [Device];
  });
  const file = textFile("a.txt", "a");

  test("a full disk loses no earlier checkpoint, leaves nothing behind, and is said", async () => {
    using model = await tinyModel(cpu);
    using trainer = new Trainer(model, options(cpu, 4));
    let room = Number.POSITIVE_INFINITY;
    const createFile: CreateFile = async (path) => {
      const chunks: Uint8Array[] = [];
      return {
        async write(bytes) {
          room -= bytes.byteLength;
          if (room < 0) throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
          chunks.push(bytes.slice());
        },
        sync: () => writeFile(path, Buffer.concat(chunks)),
        close: async () => {},
      };
    };
    const error = await runTraining(trainer, {
      ...{ out, companions, checkpointEvery: 2, keep: 1, createFile },
      onCheckpoint: () => {
        room = 30_000; // the disk fills up: in the midst of the next checkpoint's weights
      },
    }).catch((thrown: unknown) => thrown);
    expect((error as Error).name).toBe("CheckpointWriteError");
    expect((error as Error).message.replaceAll(out, "OUT")).toBe(
      "OUT/step-000004 could not be written: there is no space left on the disk. step-000002 is whole.",
    );
    expect((await readdir(out)).sort()).toEqual(["metrics.jsonl", "report.html", "step-000002"]);
    await (await openCheckpointDirectory(join(out, "step-000002"))).close();
  });

  test("the last ones are kept, a step that comes again replaces its folder, other folders stay", async () => {
    await mkdir(join(out, "step-notes"));
    for (const step of [1, 2, 3]) await writeCheckpoint(out, step, [file], { keep: 2 });
    expect(await checkpointSteps(out)).toEqual([2, 3]);
    await writeCheckpoint(out, 2, [textFile("b.txt", "b")], { keep: 2 });
    expect(await readdir(join(out, "step-000002"))).toEqual(["b.txt"]);
    expect((await readdir(out)).sort()).toEqual(["step-000002", "step-000003", "step-notes"]);
  });

  test("another model's or optimiser's state is refused in one sentence", async () => {
    using model = await tinyModel(cpu);
    {
      using trainer = new Trainer(model, options(cpu, 1));
      await runTraining(trainer, { out, companions });
    }
    using trainer = new Trainer(model, options(cpu, 1, { optimiser: { kind: "muon" } }));
    const { path } = (await newestCheckpoint(out))!;
    await expect(restoreTrainer(trainer, path)).rejects.toThrow(
      /optimiser's state does not fit: momentum\..* is missing/,
    );
  });
});
