/** A training from the command line: opens everything, trains with progress, says where the result lies. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { open } from "../../device/index.js";
import { openSafetensors, parseJson } from "../../formats/index.js";
import { fileSource } from "../../formats/node/index.js";
import { weightTensors } from "../../train/checkpoint.js";
import { ADAPTER_CONFIG_FILE, ADAPTER_FILE, Lora } from "../../train/lora.js";
import {
  newestCheckpoint,
  REPORT_FILE,
  restoreTrainer,
  runTraining,
  safetensorsFile,
  textFile,
} from "../../train/node/run-training.js";
import { Trainer } from "../../train/trainer.js";
import { parseTrainingConfig, type TrainingConfig } from "../../train/training-config.js";
import { trainingMemory } from "../../train/training-memory.js";
import { catchInterrupts } from "../interrupt.js";
import type { DeviceOptions } from "../model-options.js";
import { bytesText, InputError, InterruptedError, print, printJson, progressLine, say, UsageError } from "../output.js";
import { openTrainedModel, openTrainingData, type TrainedModel, validationBatches } from "./open-training.js";
import { stepLine } from "./step-line.js";

export interface TrainFlags extends DeviceOptions {
  readonly out?: string;
  readonly resume?: true;
  readonly steps?: number;
  readonly json?: true;
}

export async function train(path: string, flags: TrainFlags): Promise<void> {
  const config = await readTrainingConfig(path, flags);
  const { out } = config;
  if (out === undefined) throw new UsageError(`${path} says no \`out\`: give --out DIR`);
  const before = await newestCheckpoint(out);
  if (before && !flags.resume) {
    throw new UsageError(`${before.path} is there already: give --resume to go on from it, or another --out`);
  }
  if (before && before.step >= config.steps) {
    throw new UsageError(`${before.path}: all ${config.steps} steps are made; give more with --steps to go on`);
  }
  using interrupts = catchInterrupts();
  const { signal } = interrupts;
  try {
    await using device = await open({
      prefer: flags.device,
      cpu: flags.threads === undefined ? {} : { threads: flags.threads },
      webgpu: trainingMemory,
    });
    // A checkpoint of adapters has no model of its own.
    const checkpoint = config.lora ? undefined : before?.path;
    const loading = progressLine("Loading");
    const opened = await openTrainedModel(config, device, {
      ...{ source: path, checkpoint, signal },
      onProgress: (done, total) => loading.update(done, total, `${bytesText(done)} of ${bytesText(total)}`),
    }).finally(() => loading.end());
    using language = opened.language;
    const lora = config.lora ? new Lora(language, config.lora) : undefined;
    if (lora && before) {
      await using file = await openSafetensors(await fileSource(join(before.path, ADAPTER_FILE)));
      await lora.load(file);
    }
    const tokenising = progressLine("Reading");
    await using data = await openTrainingData(config, opened, {
      signal,
      onProgress: (file, done, total) => tokenising.update(done, total, file),
    }).finally(() => tokenising.end());
    for (const note of data.notes) say(note);
    const batches = await validationBatches(config, opened, { signal });
    const { steps, batch, optimiser, schedule, recompute, precision, balance } = config;
    const { learningRate, ...choice } = optimiser;
    using trainer = new Trainer(language, {
      ...{ source: data, steps, learningRate, schedule, recompute, precision, balance },
      ...{ accumulate: batch.accumulate, optimiser: choice, trainee: lora },
    });
    if (before) await restoreTrainer(trainer, before.path);
    sayWhat(config, opened, trainer, device.label, before?.step);
    const line = stepLine(steps, device);
    const result = await runTraining(trainer, {
      ...{ out, title: path, signal },
      checkpointEvery: config.checkpoints.every,
      keep: config.checkpoints.keep,
      companions: lora && !config.lora?.merge ? [] : opened.companions,
      ...(lora ? { weights: loraFiles(lora, config) } : {}),
      ...(config.validation ? { validation: { batches, every: config.validation.every } } : {}),
      onStep: (report) => line.step(report),
      onValidation: (step, loss) => line.note(`step ${step}: validation loss ${loss.toFixed(4)}`),
      onCheckpoint: (folder) => line.note(`saved ${folder}`),
    }).finally(() => line.end());
    if (result.isInterrupted) {
      say(`Interrupted after step ${result.step} of ${steps}. --resume goes on from ${result.checkpoint}.`);
      throw new InterruptedError();
    }
    const { step, loss, validationLoss } = result;
    if (flags.json) printJson({ config: path, out, step, loss, validationLoss, checkpoint: result.checkpoint });
    else print(`${result.checkpoint}: ${step} steps, loss ${loss?.toFixed(4)}; curves in ${join(out, REPORT_FILE)}`);
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
}

async function readTrainingConfig(path: string, flags: TrainFlags): Promise<TrainingConfig> {
  const text = await readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
    throw new InputError(`${path}: ${cause.code === "ENOENT" ? "there is no such file" : cause.message}`, { cause });
  });
  const config = parseTrainingConfig(parseJson(text, { file: path }), path);
  return { ...config, out: flags.out ?? config.out, steps: flags.steps ?? config.steps };
}

function loraFiles(lora: Lora, { model, lora: options }: TrainingConfig) {
  const base = typeof model === "string" ? model : "";
  return [
    safetensorsFile(ADAPTER_FILE, lora.files()),
    textFile(ADAPTER_CONFIG_FILE, `${JSON.stringify(lora.config(base), null, 1)}\n`),
    // The model holds the merged weights.
    ...(options?.merge ? [safetensorsFile("model.safetensors", weightTensors(lora.model))] : []),
  ];
}

function sayWhat(
  config: TrainingConfig,
  { language }: TrainedModel,
  { trainee }: Trainer,
  device: string,
  step: number | undefined,
): void {
  const { total } = language.parameters;
  const millions = (count: number) => `${(count / 1e6).toPrecision(3)} M`;
  const trained = trainee instanceof Lora ? trainee.parameters : total;
  const what =
    trained === total ? `${millions(total)} parameters` : `${millions(trained)} of ${millions(total)} parameters`;
  const { batch, steps } = config;
  const tokens = batch.tokens * batch.accumulate;
  say(
    `${step === undefined ? "Training" : `Going on after step ${step}:`} ${what} on ${device}, ${steps} steps of ${tokens} tokens.`,
  );
}
