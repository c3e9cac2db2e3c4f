/**
 * Training: batches in, a better model out. Runs in Node and in the page; files are the caller's (train/node).
 *
 * A step draws `accumulate` batches, adds up their gradients in that order, divides by the number of all targets, clips, and
 * lets the optimiser change the parameters. All of it is recorded without waiting for the device: while it works, the next
 * batches are drawn and the next step is recorded; what a step reports is read when it is there.
 *
 * On one device the same steps give the same bits, also after going on from a saved state.
 */
import type { LanguageModel } from "../models/index.js";
import { add, UPDATE } from "../ops/index.js";
import { empty, type Tensor } from "../tensor/index.js";
import type { BatchSource, TrainingBatch } from "./data/batch.js";
import { findDivergence } from "./find-divergence.js";
import { type LossScaling, Optimiser, type OptimiserOptions, updateReport } from "./optimisers/optimiser.js";
import { type Schedule, scheduleShare } from "./schedules.js";
import { textGradient, textLoss } from "./text-gradient.js";
import { type Trainee, wholeModel } from "./trainee.js";
import { trainingFlops } from "./training-flops.js";

export interface TrainerOptions {
  readonly source: BatchSource;
  /** Of the whole training: what schedules count with. */
  readonly steps: number;
  readonly learningRate: number;
  readonly schedule: Schedule;
  readonly optimiser: OptimiserOptions;
  /** Batches a step. Default 1. */
  readonly accumulate?: number | undefined;
  /** Makes each layer's inside again instead of keeping it: less memory, about a third more work. Default false. */
  readonly recompute?: boolean | undefined;
  /** Coefficient of the routers' load-balancing loss, which `loss` then contains. Not with `recompute`. Default 0. */
  readonly balance?: number | undefined;
  /** f16: the model was loaded so that products may round to float16; gradients are scaled. Default f32. */
  readonly precision?: "f32" | "f16" | undefined;
  /** Default: all of the model. */
  readonly trainee?: Trainee | undefined;
  /** When the loss counts as exploding: above `factor` times its running mean, `steps` times in a row. Default 3, 10. */
  readonly explosion?: { readonly factor: number; readonly steps: number } | undefined;
}

export interface StepReport {
  /** From 1: the step that was made. */
  readonly step: number;
  /** Mean over all targets, nats. */
  readonly loss: number;
  readonly gradientNorm: number;
  readonly rate: number;
  readonly tokens: number;
  readonly targets: number;
  /** Since the report before. */
  readonly seconds: number;
  /** See `trainingFlops`. */
  readonly flops: number;
  readonly lossScale: number;
  /** False: gradients overflowed (f16), and no parameter was changed. */
  readonly isGood: boolean;
  /** Steps so far that changed nothing. */
  readonly skipped: number;
}

/** The loss or a gradient is no number, or the loss explodes. No parameter has been changed since. */
export class DivergenceError extends Error {
  override readonly name = "DivergenceError";
  constructor(
    readonly step: number,
    readonly what: string,
    /** The first tensor where it shows, in words. */
    readonly place: string,
  ) {
    super(
      `step ${step}: ${what}. It appears first in ${place}. A lower learning rate, a longer warm-up or clipping (maxNorm) may help.`,
    );
  }
}

/** What a trainer remembers beside the tensors. JSON. */
export interface TrainerState {
  readonly step: number;
  readonly position: unknown;
  readonly meanLoss: number | null;
  readonly exploding: number;
}

/** float16's largest number is 65,504: gradients of a mean loss are far below 1. */
const SCALING: LossScaling = { initial: 2 ** 15, growthSteps: 1000 };
/** Below this the loss scale is not what is wrong. */
const LEAST_SCALE = 2 ** -10;

interface Drawn {
  readonly batches: readonly TrainingBatch[];
  /** The source's, after them. */
  readonly position: unknown;
}

export class Trainer implements Disposable {
  readonly optimiser: Optimiser;
  readonly trainee: Trainee;
  private done = 0;
  private position: unknown;
  private drawn: Promise<Drawn> | undefined;
  private meanLoss: number | undefined;
  private exploding = 0;
  /** The cause of an end is looked for once: the step behind it has the same. */
  private isStopped = false;
  private reported = performance.now();
  private readonly seed: Tensor | undefined;

  constructor(
    readonly model: LanguageModel,
    readonly options: TrainerOptions,
  ) {
    const { optimiser, trainee = wholeModel(model), precision = "f32", accumulate = 1, source } = options;
    if (!(Number.isInteger(accumulate) && accumulate >= 1))
      throw new RangeError(`trainer: accumulate expected a whole number from 1, got ${accumulate}`);
    this.trainee = trainee;
    this.position = source.position();
    const isScaled = precision === "f16";
    this.optimiser = new Optimiser(model.device, trainee.tensors, optimiser, isScaled ? SCALING : undefined);
    this.seed = isScaled ? empty(model.device, [1]) : undefined;
  }

  /** Steps that have been made. */
  get step(): number {
    return this.done;
  }

  /**
   * Makes steps and reports them, until there are `until` of them altogether or the signal is aborted. Afterwards, also when
   * the caller leaves the loop, no step is half made.
   *
   * @throws {DivergenceError}
   */
  async *run({
    until = this.options.steps,
    signal,
  }: {
    until?: number;
    signal?: AbortSignal;
  } = {}): AsyncGenerator<StepReport, void, undefined> {
    this.reported = performance.now();
    let under: Promise<StepReport> | undefined;
    try {
      while (this.done < until && !signal?.aborted) {
        this.drawn ??= this.draw();
        const drawn = await this.drawn;
        this.drawn = undefined;
        const before = under;
        under = this.make(drawn);
        // Whoever is not waited for must not be an unhandled rejection.
        under.catch(() => undefined);
        if (this.done < until) this.drawn = this.draw();
        this.drawn?.catch(() => undefined);
        if (before) yield await before;
      }
      const last = under;
      under = undefined;
      if (last) yield await last;
    } finally {
      await under?.catch(() => undefined);
    }
  }

  /** The mean loss over the batches' targets, with the parameters as they are. */
  async validate(batches: readonly TrainingBatch[]): Promise<number> {
    const count = batches.reduce((sum, batch) => sum + targetCount(batch), 0);
    let total = 0;
    for (const { rows, targets } of batches) {
      using loss = textLoss(this.model, rows, { targets, count });
      total += (await loss.readFloat32())[0] ?? 0;
    }
    return total;
  }

  /** Between runs. The tensors of trainee and optimiser are the other half. */
  state(): TrainerState {
    const { done: step, position, meanLoss = null, exploding } = this;
    return { step, position, meanLoss, exploding };
  }

  /** Goes on from a state; the tensors have been written by the caller. */
  restore({ step, position, meanLoss, exploding }: TrainerState): void {
    this.done = step;
    this.position = position;
    this.meanLoss = meanLoss ?? undefined;
    this.exploding = exploding;
    this.drawn = undefined;
    this.options.source.restore(position);
    this.trainee.push();
  }

  dispose(): void {
    this.optimiser.dispose();
    this.trainee[Symbol.dispose]();
    this.seed?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private async draw(): Promise<Drawn> {
    const { source, accumulate = 1 } = this.options;
    const batches: TrainingBatch[] = [];
    for (let i = 0; i < accumulate; i++) batches.push(await source.next());
    return { batches, position: source.position() };
  }

  /** Records a step; resolves when the device has made it. */
  private async make({ batches, position }: Drawn): Promise<StepReport> {
    const { model, trainee, optimiser, options } = this;
    const { device } = model;
    const { recompute = false, balance = 0, schedule, steps, learningRate, precision } = options;
    const targets = batches.reduce((sum, batch) => sum + targetCount(batch), 0);
    if (targets === 0) throw new RangeError(`step ${this.done + 1}: the data has no targets`);
    const { record } = optimiser;
    const { seed } = this;
    if (seed) device.copy(word(record, UPDATE.lossScale), seed);
    let loss: Tensor | undefined;
    let sums: (Tensor | undefined)[] = [];
    for (const batch of batches) {
      const made = textGradient(model, trainee.sources, batch.rows, {
        ...{ targets: batch.targets, count: targets, recompute, balance: balance / batches.length },
        ...(precision ? { precision } : {}),
        ...(seed ? { scale: seed } : {}),
      });
      sums = trainee.sources.map((_, i) => summed(sums[i], made.gradients[i]));
      loss = summed(loss, made.loss);
    }
    const gradients = trainee.pull(sums);
    const rate = learningRate * scheduleShare(schedule, this.done, steps);
    optimiser.step(gradients, rate);
    trainee.push();
    if (loss) device.copy(loss, word(record, UPDATE.loss));
    loss?.dispose();
    for (const gradient of gradients) gradient.dispose();
    this.done += 1;
    this.position = position;
    const step = this.done;
    const lengths = batches.flatMap(({ rows }) => rows.map(({ length }) => length));

    const words = await record.readFloat32();
    const now = performance.now();
    const seconds = (now - this.reported) / 1000;
    this.reported = now;
    const report: StepReport = {
      ...{ step, rate, targets, seconds, loss: words[UPDATE.loss] ?? Number.NaN },
      ...updateReport(words),
      tokens: lengths.reduce((a, b) => a + b, 0),
      flops: trainingFlops(model, lengths),
    };
    await this.watch(report, batches);
    return report;
  }

  private async watch(report: StepReport, batches: readonly TrainingBatch[]): Promise<void> {
    const { step, loss, isGood, gradientNorm, lossScale } = report;
    const { factor, steps } = this.options.explosion ?? { factor: 3, steps: 10 };
    if (this.isStopped) return;
    const stop = async (what: string) => {
      this.isStopped = true;
      const { model, trainee } = this;
      const named = trainee.tensors.map(({ name }, i) => ({ name, tensor: trainee.sources[i] as Tensor }));
      throw new DivergenceError(step, what, await findDivergence(model, named, batches));
    };
    if (!Number.isFinite(loss)) await stop(`the loss is ${loss}`);
    if (!isGood && !this.seed) await stop(`the norm of the gradient is ${gradientNorm}`);
    if (this.seed && lossScale < LEAST_SCALE) await stop(`gradients overflow even with a loss scale of ${lossScale}`);
    const mean = this.meanLoss;
    const isAbove = mean !== undefined && loss > factor * mean;
    this.exploding = isAbove ? this.exploding + 1 : 0;
    if (this.exploding >= steps) {
      await stop(
        `the loss ${loss.toPrecision(4)} is above ${factor} times its mean ${mean?.toPrecision(4)} for ${steps} steps`,
      );
    }
    if (!isAbove) this.meanLoss = mean === undefined ? loss : mean + 0.02 * (loss - mean);
  }
}

const targetCount = ({ targets }: TrainingBatch) => targets.filter((id) => id >= 0).length;

/** A word of the record. */
const word = ({ allocation, byteOffset }: Tensor, index: number) => ({
  ...{ allocation, byteOffset: byteOffset + 4 * index, byteLength: 4 },
});

/** The sum in the place of both; one of them where there is no other. */
function summed(a: Tensor | undefined, b: Tensor): Tensor;
function summed(a: Tensor | undefined, b: Tensor | undefined): Tensor | undefined;
function summed(a: Tensor | undefined, b: Tensor | undefined): Tensor | undefined {
  if (!a || !b) return a ?? b;
  const sum = add(a, b);
  a.dispose();
  b.dispose();
  return sum;
}
