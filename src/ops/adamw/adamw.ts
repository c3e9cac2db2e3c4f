/**
 * AdamW over many tensors in few launches, in place.
 *
 *   g' = factor · g                                    factor of `globalNorm`: clipping and loss scale
 *   m ← beta1 · m + (1 − beta1) · g'
 *   s ← √(beta2 · s² + (1 − beta2) · g'²)
 *   p ← p − rate · ( (m / c1) / (s / √c2 + eps) + decay · p )
 *   e ← e + (1 − emaDecay) · (p − e)                   (only with an average)
 *
 * Nothing changes when the record says that the norm was not finite. Factor, c1 and c2 are read from the record on the
 * device.
 *
 * Precision float32. The second moment is kept as its root s, added up as hypot does it: gradients of 1e-30 keep their
 *           digits, where their squares would vanish; so an eps of 1e-15 means what it says.
 * Source    Loshchilov & Hutter 2019, arXiv 1711.05101; eps 1e-15: MiniMax-M1 report, arXiv 2506.13585.
 * Departs   the root of the second moment (above). c1 and c2 count good steps only, so a skipped step leaves no trace.
 */
import { type Device, f32 } from "../../device/index.js";
import { ShapeError, type Tensor, zeros } from "../../tensor/index.js";
import { type BlockLaunch, blockGrid, blockLaunches, spanOf, spanValues } from "../global-norm/tensor-blocks.js";
import { adamwKernel, adamwParams, adamwTensors } from "./adamw.wgsl.js";

export interface AdamWOptions {
  /** Defaults 0.9, 0.999, 1e-8; betas as given to `globalNorm`. */
  readonly beta1?: number;
  readonly beta2?: number;
  readonly eps?: number;
  /** Of the average of the parameters, if there is one. Default 0.999. */
  readonly emaDecay?: number;
}

/** One tensor's part in a step. */
export interface AdamWTensor {
  readonly parameter: Tensor;
  readonly gradient: Tensor;
  readonly rate: number;
  /** Times the rate is what a parameter loses. */
  readonly decay: number;
}

/** What is kept of a tensor. */
export type MomentName = "first" | "second" | "average";

/** Tensors of a CPU launch: an entry of the launch list holds 122 words. */
const CPU_TENSORS = 16;

/** Moments of some parameters, in one buffer a launch. */
export class AdamWMoments implements Disposable {
  readonly names: readonly MomentName[];
  private readonly launches: readonly BlockLaunch[];
  private readonly arenas: readonly Tensor[];

  /**
   * @param parameters f32; their order is that of every step.
   * @param hasAverage whether an exponential average of the parameters is kept, beginning with what they are now.
   */
  constructor(
    readonly device: Device,
    private readonly parameters: readonly Tensor[],
    { hasAverage = false } = {},
  ) {
    const wrong = parameters.find((p) => p.dtype !== "f32" || p.device !== device);
    if (wrong) throw new TypeError("AdamWMoments: parameters expected as f32 tensors on the same device");
    this.names = hasAverage ? ["first", "second", "average"] : ["first", "second"];
    const most = device.kind === "cpu" ? 2 ** 29 : device.limits.maxBindingBytes / 4;
    this.launches = blockLaunches(
      parameters.map(({ size }) => size),
      {
        tensors: device.kind === "cpu" ? CPU_TENSORS : adamwTensors(device.limits.maxStorageBuffers),
        numbers: most / this.names.length,
      },
    );
    this.arenas = this.launches.map(({ size }) => zeros(device, [this.names.length, size], "f32", "moments"));
    if (hasAverage) for (const [i, parameter] of parameters.entries()) this.copy(i, "average", parameter, "from");
  }

  /** @internal The launches and their moments [names, size]. */
  *parts(): Generator<{ readonly launch: BlockLaunch; readonly arena: Tensor }> {
    for (const [i, launch] of this.launches.entries()) yield { launch, arena: this.arenas[i] as Tensor };
  }

  get count(): number {
    return this.parameters.length;
  }

  get byteLength(): number {
    return this.arenas.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** What is kept of parameter `index`, with as many numbers as it. */
  async read(index: number, name: MomentName): Promise<Float32Array> {
    const values = new Float32Array(this.parameters[index]?.size ?? 0);
    for (const { slice, begin } of this.slices(index, name)) {
      values.set(new Float32Array(await this.device.read(slice)), begin);
    }
    return values;
  }

  write(index: number, name: MomentName, values: Float32Array): void {
    const { size } = this.parameters[index] ?? { size: 0 };
    if (values.length !== size) throw new ShapeError("AdamWMoments", name, `${size} numbers`, [values.length]);
    for (const { slice, begin } of this.slices(index, name)) {
      this.device.write(slice, values.subarray(begin, begin + slice.byteLength / 4));
    }
  }

  /** Copies the kept numbers to or from a tensor of the parameter's size, on the device. */
  copy(index: number, name: MomentName, tensor: Tensor, direction: "to" | "from"): void {
    for (const { slice, begin } of this.slices(index, name)) {
      const { allocation, byteOffset } = tensor;
      const other = { allocation, byteOffset: byteOffset + 4 * begin, byteLength: slice.byteLength };
      if (direction === "to") this.device.copy(slice, other);
      else this.device.copy(other, slice);
    }
  }

  private *slices(index: number, name: MomentName) {
    const row = this.names.indexOf(name);
    if (row < 0) throw new RangeError(`AdamWMoments: there is no ${name}`);
    for (const { launch, arena } of this.parts()) {
      for (const { tensor, begin, size, offset } of launch.spans) {
        if (tensor !== index) continue;
        const byteOffset = arena.byteOffset + 4 * (row * launch.size + offset);
        yield { begin, slice: { allocation: arena.allocation, byteOffset, byteLength: 4 * size } };
      }
    }
  }

  dispose(): void {
    for (const arena of this.arenas) arena.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * One step.
 *
 * @param tensors in the order of the moments' parameters. @param record that `globalNorm` has written for these gradients.
 * @throws {ShapeError} a gradient is not as large as its parameter.
 *
 * Cost: reads p, g, m, s and writes p, m, s: 28 bytes a number.
 */
export function adamw(
  tensors: readonly AdamWTensor[],
  moments: AdamWMoments,
  record: Tensor,
  options: AdamWOptions = {},
): void {
  const { beta1 = 0.9, beta2 = 0.999, eps = 1e-8, emaDecay = 0.999 } = options;
  const { device } = moments;
  if (tensors.length !== moments.count)
    throw new ShapeError("adamw", "tensors", `${moments.count} (as the moments)`, [tensors.length]);
  for (const { parameter, gradient } of tensors) {
    if (gradient.size !== parameter.size)
      throw new ShapeError("adamw", "gradient", `${parameter.size} numbers (as the parameter)`, gradient.shape);
  }
  const hasAverage = moments.names.includes("average");
  // Differences and roots in float64: 1 − beta2 has three digits left in float32.
  const common = {
    keep1: beta1,
    add1: 1 - beta1,
    keep2: Math.sqrt(beta2),
    add2: Math.sqrt(1 - beta2),
    eps,
    emaAdd: hasAverage ? 1 - emaDecay : 0,
  };
  for (const { launch, arena } of moments.parts()) {
    const { spans } = launch;
    const part = spans.map((span) => {
      const { parameter, gradient, rate, decay } = tensors[span.tensor] as AdamWTensor; // counted above
      return { p: spanOf(parameter, span), g: spanOf(gradient, span), rate, loss: rate * decay, span };
    });
    const numbers = spans.reduce((sum, { size }) => sum + size, 0);
    const cost = { bytes: numbers * (hasAverage ? 36 : 28), operations: numbers * 16 };
    if (device.kind === "cpu") {
      device.run(hasAverage ? "adamwWithAverage" : "adamw", {
        arguments: [
          ...[arena, record, launch.size],
          ...[common.keep1, common.add1, common.keep2, common.add2, eps, common.emaAdd].map(f32),
          ...part.flatMap(({ p, g, rate, loss, span }) => [p, g, span.size, span.end, f32(rate), f32(loss)]),
        ],
        tasks: launch.blocks,
        cost,
      });
      continue;
    }
    // A kernel for as many tensors as there are: what is written cannot be bound twice.
    const count = spans.length;
    const values = (name: string, of: (one: (typeof part)[number]) => number) => spanValues(name, count, part.map(of));
    device.run(adamwKernel(count, hasAverage), {
      buffers: [...part.flatMap(({ p, g }) => [p, g]), arena, record],
      params: adamwParams(count).write({
        ...{ ...common, stride: launch.size },
        ...values("size", ({ span }) => span.size),
        ...values("end", ({ span }) => span.end),
        ...values("offset", ({ span }) => span.offset),
        ...values("rate", ({ rate }) => rate),
        ...values("loss", ({ loss }) => loss),
      }),
      grid: blockGrid(launch.blocks),
      cost,
    });
  }
}
