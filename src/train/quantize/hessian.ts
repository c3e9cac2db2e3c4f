/**
 * Second moments of a matrix's inputs: what its rounding errors cost.
 *
 *   H = Σ over inputs x of x xᵀ;   for a row's errors e:  Σ over x of (e · x)² = e H eᵀ
 *
 * The factor 2 of the papers changes no rounding and is left out.
 */

export interface Moments {
  /** [size, size], symmetric. */
  readonly sum: Float64Array;
  readonly size: number;
  /** Inputs, by weight. */
  readonly count: number;
}

export interface HessianOptions {
  /** Part of the mean diagonal that is added to the diagonal. Default 0.01. */
  readonly damping?: number;
  /** Moments of more inputs of the same kind, of which `size` inputs are mixed in: they speak where own inputs are few. */
  readonly prior?: Moments;
}

/** H, mixed and damped; always positive definite. */
export function hessianOf(own: Moments, { damping = 0.01, prior }: HessianOptions = {}): Float64Array {
  const { sum, size } = own;
  const mixed = sum.slice();
  if (prior && prior.count > 0) {
    const share = size / prior.count;
    for (let i = 0; i < mixed.length; i++) mixed[i] = mixed[i]! + share * prior.sum[i]!;
  }
  let trace = 0;
  for (let i = 0; i < size; i++) trace += mixed[i * size + i]!;
  // Never an input: all errors cost the same.
  const added = trace > 0 ? (damping * trace) / size : 1;
  for (let i = 0; i < size; i++) mixed[i * size + i] = mixed[i * size + i]! + added;
  return mixed;
}

/** e H eᵀ summed over the rows of `errors` [rows, size]. */
export function hessianNorm(errors: ArrayLike<number>, hessian: Float64Array, size: number): number {
  let total = 0;
  for (let row = 0; row < errors.length; row += size) {
    for (let i = 0; i < size; i++) {
      let sum = 0;
      for (let k = 0; k < size; k++) sum += hessian[i * size + k]! * errors[row + k]!;
      total += sum * errors[row + i]!;
    }
  }
  return total;
}
