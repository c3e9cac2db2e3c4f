/** AdamW in float64, with the second moment as it is defined. */
import type { AdamWOptions } from "./adamw.js";

export interface AdamWReference {
  readonly parameter: Float64Array;
  readonly first: Float64Array;
  /** Not its root. */
  readonly second: Float64Array;
  readonly average: Float64Array;
}

export function adamwStart(parameter: ArrayLike<number>): AdamWReference {
  const zeros = () => new Float64Array(parameter.length);
  return {
    parameter: Float64Array.from(parameter),
    first: zeros(),
    second: zeros(),
    average: Float64Array.from(parameter),
  };
}

/** One good step, the `step`-th (from 1), in place. */
export function adamwReference(
  state: AdamWReference,
  gradient: ArrayLike<number>,
  { rate, decay, factor, step }: { rate: number; decay: number; factor: number; step: number },
  { beta1 = 0.9, beta2 = 0.999, eps = 1e-8, emaDecay = 0.999 }: AdamWOptions = {},
): void {
  const { parameter, first, second, average } = state;
  for (let i = 0; i < parameter.length; i++) {
    const g = factor * (gradient[i] as number);
    first[i] = beta1 * first[i]! + (1 - beta1) * g;
    second[i] = beta2 * second[i]! + (1 - beta2) * g * g;
    const mean = first[i]! / (1 - beta1 ** step);
    const spread = Math.sqrt(second[i]! / (1 - beta2 ** step));
    parameter[i]! -= rate * (mean / (spread + eps) + decay * parameter[i]!);
    average[i]! += (1 - emaDecay) * (parameter[i]! - average[i]!);
  }
}
