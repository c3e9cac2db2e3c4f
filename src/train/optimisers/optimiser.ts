/**
 * The optimiser of a training: AdamW for everything, or Muon for the matrices inside the layers and AdamW for embedding, head,
 * norms and routers. Clipping by the global norm, loss scale and counters lie in one record on the device (`globalNorm`).
 */
import type { Device } from "../../device/index.js";
import { AdamWMoments, adamw, globalNorm, muon, UPDATE, updateRecord } from "../../ops/index.js";
import { type Tensor, zeros } from "../../tensor/index.js";
import type { TrainedTensor } from "./trained-tensors.js";

export interface OptimiserOptions {
  readonly kind: "adamw" | "muon";
  /** Defaults 0.9, 0.95, 1e-8. */
  readonly beta1?: number | undefined;
  readonly beta2?: number | undefined;
  readonly eps?: number | undefined;
  /** Of matrices, embedding and head; vectors have none. Default 0.1. */
  readonly decay?: number | undefined;
  /** Muon's. Default 0.95. */
  readonly momentum?: number | undefined;
  /** Keeps an exponential average of the parameters. Default: none. */
  readonly emaDecay?: number | undefined;
  /** Gradients are scaled down to this global norm. Default: as they are. */
  readonly maxNorm?: number | undefined;
}

/** What is kept of a tensor, by name, as on the device. */
export interface OptimiserTensor {
  readonly name: string;
  readonly shape: readonly number[];
  read(): Promise<Float32Array>;
  write(values: Float32Array): void;
}

export interface LossScaling {
  readonly initial: number;
  /** Good steps after which the scale doubles. */
  readonly growthSteps: number;
}

export class Optimiser implements Disposable {
  /** Norm, factor, loss scale, counters: see `UPDATE`. */
  readonly record: Tensor;
  private readonly byMuon: readonly (TrainedTensor & { readonly momentum: Tensor })[];
  private readonly byAdamW: readonly TrainedTensor[];
  private readonly moments: AdamWMoments;

  constructor(
    device: Device,
    private readonly trained: readonly TrainedTensor[],
    private readonly options: OptimiserOptions,
    private readonly scaling?: LossScaling | undefined,
  ) {
    if (options.kind === "muon" && options.emaDecay !== undefined) {
      throw new RangeError("optimiser: an average of the parameters (emaDecay) is kept with adamw only");
    }
    const isMuon = (tensor: TrainedTensor) => options.kind === "muon" && tensor.role === "matrix";
    this.byMuon = trained.filter(isMuon).map((one) => ({ ...one, momentum: zeros(device, one.tensor.shape) }));
    this.byAdamW = trained.filter((one) => !isMuon(one));
    this.moments = new AdamWMoments(
      device,
      this.byAdamW.map(({ tensor }) => tensor),
      { hasAverage: options.emaDecay !== undefined },
    );
    this.record = updateRecord(device, scaling?.initial ?? 1);
  }

  /**
   * One step with gradients in the order of the trained tensors. Nothing changes when they are not finite; without loss
   * scaling nothing changes ever after, so that the place can be looked for.
   */
  step(gradients: readonly Tensor[], rate: number): void {
    const { beta1 = 0.9, beta2 = 0.95, eps = 1e-8, decay = 0.1, momentum, emaDecay, maxNorm } = this.options;
    const growthSteps = this.scaling?.growthSteps;
    globalNorm(gradients, this.record, { maxNorm, growthSteps, isLatched: !this.scaling, beta1, beta2 });
    const gradientOf = new Map(this.trained.map(({ tensor }, i) => [tensor, gradients[i] as Tensor]));
    adamw(
      this.byAdamW.map(({ tensor: parameter, role }) => ({
        ...{ parameter, rate, gradient: gradientOf.get(parameter) as Tensor },
        decay: role === "vector" ? 0 : decay,
      })),
      this.moments,
      this.record,
      { beta1, beta2, eps, ...(emaDecay === undefined ? {} : { emaDecay }) },
    );
    muon(
      this.byMuon.map(({ tensor: parameter, momentum, parts }) => ({
        ...{ parameter, momentum, parts, rate, decay },
        gradient: gradientOf.get(parameter) as Tensor,
      })),
      this.record,
      momentum === undefined ? {} : { momentum },
    );
  }

  /** Everything that a later run needs to go on. */
  *state(): Generator<OptimiserTensor> {
    const { moments, record } = this;
    yield {
      name: "record",
      shape: record.shape,
      read: () => record.readFloat32(),
      write: (values) => record.write(values),
    };
    for (const [i, { name, tensor }] of this.byAdamW.entries()) {
      for (const kept of moments.names) {
        yield {
          name: `${kept}.${name}`,
          shape: tensor.shape,
          read: () => moments.read(i, kept),
          write: (values) => moments.write(i, kept, values),
        };
      }
    }
    for (const { name, momentum } of this.byMuon) {
      yield {
        name: `momentum.${name}`,
        shape: momentum.shape,
        read: () => momentum.readFloat32(),
        write: (values) => momentum.write(values),
      };
    }
  }

  get hasAverage(): boolean {
    return this.options.emaDecay !== undefined;
  }

  /** The average of a trained tensor's numbers, if there is one. */
  async average(tensor: Tensor): Promise<Float32Array | undefined> {
    const index = this.byAdamW.findIndex((one) => one.tensor === tensor);
    return this.hasAverage && index >= 0 ? await this.moments.read(index, "average") : undefined;
  }

  get byteLength(): number {
    return this.moments.byteLength + this.byMuon.reduce((sum, { momentum }) => sum + momentum.byteLength, 0);
  }

  dispose(): void {
    this.record.dispose();
    this.moments.dispose();
    for (const { momentum } of this.byMuon) momentum.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** A record as the host has read it. */
export interface UpdateReport {
  /** Of the whole gradient, before clipping; not finite when the step was skipped. */
  readonly gradientNorm: number;
  readonly isGood: boolean;
  readonly lossScale: number;
  readonly skipped: number;
}

export function updateReport(words: Float32Array): UpdateReport {
  const word = (index: number) => words[index] ?? 0;
  return {
    gradientNorm: word(UPDATE.norm),
    isGood: word(UPDATE.isGood) === 1,
    lossScale: word(UPDATE.lossScale),
    skipped: word(UPDATE.skipped),
  };
}
