/**
 * A training with its folder: checkpoints, metrics, a report. Goes on exactly where the newest whole checkpoint stands.
 *
 *   OUT/step-000500/…      config.json, model.safetensors, tokenizer; optimiser.safetensors, trainer.json
 *   OUT/metrics.jsonl      a line a step
 *   OUT/report.html        curves
 */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { openSafetensors, parseJson, type TensorToWrite, writeSafetensors } from "../../formats/index.js";
import { fileSource, writeFileAtomic } from "../../formats/node/index.js";
import {
  averageTensors,
  OPTIMISER_FILE,
  optimiserTensors,
  restoreOptimiser,
  TRAINER_FILE,
  trainerState,
  weightTensors,
} from "../checkpoint.js";
import type { TrainingBatch } from "../data/batch.js";
import { trainingReport } from "../report/training-report.js";
import type { StepReport, Trainer } from "../trainer.js";
import {
  type CheckpointFile,
  type CreateFile,
  checkpointSteps,
  folderName,
  removeTemporaries,
  writeCheckpoint,
} from "./checkpoint-folders.js";
import { METRICS_FILE, openMetrics, readMetrics } from "./metrics.js";

export type { CheckpointFile } from "./checkpoint-folders.js";

export const REPORT_FILE = "report.html";

export interface RunOptions {
  readonly out: string;
  /** Steps between checkpoints; one is written at the end in any case. */
  readonly checkpointEvery?: number | undefined;
  /** Checkpoints that stay. Default 3. */
  readonly keep?: number | undefined;
  /** Files that belong to a checkpoint beside the trainer's: config.json, the tokenizer's. */
  readonly companions: readonly CheckpointFile[];
  /** What is written of the model. Default: its weights in model.safetensors. */
  readonly weights?: readonly CheckpointFile[] | undefined;
  readonly validation?: { readonly batches: readonly TrainingBatch[]; readonly every: number } | undefined;
  /** Of the report. */
  readonly title?: string | undefined;
  /** Finishes the step under way, saves and returns. */
  readonly signal?: AbortSignal | undefined;
  readonly createFile?: CreateFile | undefined;
  readonly onStep?: ((report: StepReport) => void) | undefined;
  readonly onValidation?: ((step: number, loss: number) => void) | undefined;
  readonly onCheckpoint?: ((path: string) => void) | undefined;
}

export interface RunResult {
  readonly step: number;
  readonly isInterrupted: boolean;
  /** The newest checkpoint. */
  readonly checkpoint: string;
  readonly loss: number | undefined;
  readonly validationLoss: number | undefined;
}

/** A checkpoint file of text. */
export function textFile(name: string, text: string): CheckpointFile {
  return { name, write: (sink) => sink.write(new TextEncoder().encode(text)) };
}

export function safetensorsFile(
  name: string,
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> = { format: "pt" },
): CheckpointFile {
  return { name, write: (sink) => writeSafetensors(sink, tensors, metadata) };
}

/** The newest whole checkpoint of a run's folder. */
export async function newestCheckpoint(out: string): Promise<{ step: number; path: string } | undefined> {
  const step = (await checkpointSteps(out)).at(-1);
  return step === undefined ? undefined : { step, path: join(out, folderName(step)) };
}

/** Brings optimiser, counters and data to where a checkpoint stands. The model's weights have been loaded from it. */
export async function restoreTrainer(trainer: Trainer, path: string): Promise<void> {
  const file = join(path, TRAINER_FILE);
  const state = trainerState(parseJson(await readFile(file, "utf8"), { file }), file);
  const optimiser = join(path, OPTIMISER_FILE);
  await using tensors = await openSafetensors(await fileSource(optimiser));
  await restoreOptimiser(trainer, tensors, optimiser);
  trainer.restore(state);
}

/** Trains until the trainer's steps are made or the signal is aborted. @throws {DivergenceError} {CheckpointWriteError} */
export async function runTraining(trainer: Trainer, options: RunOptions): Promise<RunResult> {
  const { out, checkpointEvery = Number.POSITIVE_INFINITY, keep = 3, validation, signal, createFile } = options;
  const { steps } = trainer.options;
  await mkdir(out, { recursive: true });
  await removeTemporaries(out);
  await using metrics = await openMetrics(out, trainer.step);
  let loss: number | undefined;
  let validationLoss: number | undefined;
  let checkpoint = "";
  let saved = -1;
  const save = async () => {
    const average = averageTensors(trainer);
    const files = [
      ...options.companions,
      ...(options.weights ?? [safetensorsFile("model.safetensors", weightTensors(trainer.model))]),
      ...(average ? [safetensorsFile("average.safetensors", average)] : []),
      safetensorsFile(OPTIMISER_FILE, optimiserTensors(trainer), {}),
      textFile(TRAINER_FILE, `${JSON.stringify(trainer.state())}\n`),
    ];
    checkpoint = await writeCheckpoint(out, trainer.step, files, { keep, ...(createFile ? { createFile } : {}) });
    saved = trainer.step;
    await writeReport(out, options.title ?? out);
    options.onCheckpoint?.(checkpoint);
  };
  const validate = async () => {
    if (!validation) return;
    validationLoss = await trainer.validate(validation.batches);
    await metrics.add({ step: trainer.step, validationLoss });
    options.onValidation?.(trainer.step, validationLoss);
  };

  while (trainer.step < steps && !signal?.aborted) {
    const next = (every: number) => (Math.floor(trainer.step / every) + 1) * every;
    const until = Math.min(steps, next(checkpointEvery), next(validation?.every ?? Number.POSITIVE_INFINITY));
    for await (const report of trainer.run({ until, ...(signal ? { signal } : {}) })) {
      loss = report.loss;
      await metrics.add(metricOf(report));
      options.onStep?.(report);
    }
    if (signal?.aborted) break;
    if (trainer.step === steps || trainer.step % (validation?.every ?? Number.POSITIVE_INFINITY) === 0)
      await validate();
    if (trainer.step % checkpointEvery === 0) await save();
  }
  if (saved !== trainer.step) await save();
  return { step: trainer.step, isInterrupted: trainer.step < steps, checkpoint, loss, validationLoss };
}

const metricOf = ({
  step,
  loss,
  gradientNorm,
  rate,
  tokens,
  targets,
  seconds,
  flops,
  lossScale,
  skipped,
}: StepReport) => ({
  ...{ step, loss, gradientNorm, rate, tokens, targets, lossScale, skipped },
  seconds: Number(seconds.toFixed(4)),
  tflops: Number((flops / seconds / 1e12).toPrecision(4)),
});

/** Draws the report of what metrics.jsonl holds. */
export async function writeReport(out: string, title: string): Promise<void> {
  const metrics = await readMetrics(out);
  const html = trainingReport(title, metrics, METRICS_FILE);
  await writeFileAtomic(join(out, REPORT_FILE), (sink) => sink.write(new TextEncoder().encode(html)));
}
