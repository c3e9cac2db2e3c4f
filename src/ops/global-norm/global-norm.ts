/**
 * The norm of all gradients together, and what an optimiser's step makes of it. Everything stays on the device: nobody waits.
 *
 *   norm     = √(Σ over all tensors and numbers of g²) / lossScale
 *   isGood   = norm is finite
 *   factor   = min(1, maxNorm / norm) / lossScale              what multiplies every gradient
 *   if isGood:  steps += 1;  c1 = 1 − beta1^steps;  c2 = 1 − beta2^steps;  after `growthSteps` good ones lossScale ·= 2
 *   else:       lossScale /= 2, skipped += 1;  with `isLatched` no later step is good
 *
 * The results lie in a record of `UPDATE_WORDS` numbers that the optimiser's kernels read; a step with a norm that is not
 * finite changes no parameter.
 *
 * Precision sums of a block in float32 lanes, blocks summed in float64 on the CPU and in a fixed tree in float32 on WebGPU.
 *           Squares above 3e38 are infinite: such a step counts as an overflow. c1 and c2 come from the recurrence
 *           c ← beta c + (1 − beta), which loses nothing where 1 − beta^steps would.
 * Source    clipping: Pascanu et al. 2013, arXiv 1211.5063. Loss scaling: Micikevicius et al. 2018, arXiv 1710.03740.
 */
import { type Device, f32 } from "../../device/index.js";
import { empty, type Tensor, upload } from "../../tensor/index.js";
import { decideKernel, decideParams, squaresKernel, squaresParams, squaresTensors } from "./global-norm.wgsl.js";
import { blockGrid, blockLaunches, spanOf, spanValues } from "./tensor-blocks.js";

/** Words of the record. Flags are 0 or 1. */
export const UPDATE = {
  norm: 0,
  factor: 1,
  isGood: 2,
  lossScale: 3,
  /** Good steps since the loss scale changed. */
  goodSteps: 4,
  /** Good steps at all. */
  steps: 5,
  c1: 6,
  c2: 7,
  skipped: 8,
  /** Of the step, for whoever writes it there: one read gives all that a step reports. */
  loss: 9,
} as const;
export const UPDATE_WORDS = 16;

/** A record before the first step. */
export function updateRecord(device: Device, lossScale = 1): Tensor {
  const words = new Float32Array(UPDATE_WORDS);
  words[UPDATE.lossScale] = lossScale;
  return upload(device, words, [UPDATE_WORDS]);
}

export interface GlobalNormOptions {
  /** Gradients are scaled down to this norm. Default: as they are. */
  readonly maxNorm?: number | undefined;
  /** Good steps after which the loss scale doubles. Default: it stays as it is, also after an overflow. */
  readonly growthSteps?: number | undefined;
  /** After a step that was not good none is, so that its cause can be looked for with the same parameters. */
  readonly isLatched?: boolean;
  readonly beta1?: number;
  readonly beta2?: number;
}

/** Tensors of a CPU launch. */
const CPU_TENSORS = 32;

/**
 * Writes `record` for the step with these gradients.
 *
 * @param gradients f32, of any shapes. @param record from `updateRecord`.
 *
 * Cost: reads all gradients once.
 */
export function globalNorm(gradients: readonly Tensor[], record: Tensor, options: GlobalNormOptions = {}): void {
  const {
    maxNorm = Number.POSITIVE_INFINITY,
    growthSteps = 0,
    isLatched = false,
    beta1 = 0.9,
    beta2 = 0.999,
  } = options;
  const { device } = record;
  const wrong = gradients.find((g) => g.dtype !== "f32" || g.device !== device);
  if (wrong) throw new TypeError("globalNorm: gradients expected as f32 tensors on the record's device");
  if (!(maxNorm > 0)) throw new RangeError(`globalNorm: maxNorm expected above 0, got ${maxNorm}`);
  const limits =
    device.kind === "cpu"
      ? { tensors: CPU_TENSORS, numbers: 2 ** 30 }
      : { tensors: squaresTensors(device.limits.maxStorageBuffers), numbers: device.limits.maxBindingBytes / 4 };
  const launches = blockLaunches(
    gradients.map(({ size }) => size),
    limits,
  );
  const blocks = launches.reduce((sum, launch) => sum + launch.blocks, 0);
  using partial = empty(device, [Math.max(1, blocks)], "f32", "squares");
  let first = 0;
  for (const launch of launches) {
    const { spans } = launch;
    const slices = spans.map((span) => spanOf(gradients[span.tensor] as Tensor, span));
    const numbers = spans.reduce((sum, { size }) => sum + size, 0);
    const cost = { bytes: 4 * numbers, operations: 2 * numbers };
    if (device.kind === "cpu") {
      device.run("globalNormSquares", {
        arguments: [partial, first, ...spans.flatMap((span, i) => [slices[i], span.size, span.end])],
        tasks: launch.blocks,
        cost,
      });
    } else {
      const { tensors } = limits;
      device.run(squaresKernel(tensors), {
        // Bindings that this launch has no tensor for get the last one again: they are only read.
        buffers: [...Array.from({ length: tensors }, (_, i) => slices[i] ?? slices.at(-1) ?? partial), partial],
        params: squaresParams(tensors).write({
          first,
          blocks: launch.blocks,
          ...spanValues(
            "size",
            tensors,
            spans.map(({ size }) => size),
          ),
          ...spanValues(
            "end",
            tensors,
            spans.map(({ end }) => end),
          ),
        }),
        grid: blockGrid(launch.blocks),
        cost,
      });
    }
    first += launch.blocks;
  }
  // Infinity travels as the largest number: WGSL has no other.
  const most = Math.min(maxNorm, 3e38);
  const cost = { bytes: 4 * blocks, operations: blocks };
  const rates = [beta1, 1 - beta1, beta2, 1 - beta2] as const;
  if (device.kind === "cpu") {
    device.run("globalNormDecide", {
      arguments: [partial, record, blocks, growthSteps, isLatched, f32(most), ...rates.map(f32)],
      tasks: 1,
      cost,
    });
  } else {
    const [keep1, add1, keep2, add2] = rates;
    device.run(decideKernel, {
      buffers: [partial, record],
      params: decideParams.write({
        blocks,
        growthSteps,
        isLatched: isLatched ? 1 : 0,
        maxNorm: most,
        keep1,
        add1,
        keep2,
        add2,
      }),
      grid: [1],
      cost,
    });
  }
}
