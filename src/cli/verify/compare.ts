/** Measures of agreement between a result and its reference. */

/** ‖a − b‖ / ‖b‖ over both arrays; ∞ when a holds a value that is no number. */
export class RelativeRms {
  private difference = 0;
  private reference = 0;
  maxAbs = 0;

  add(a: ArrayLike<number>, b: ArrayLike<number>): this {
    if (a.length !== b.length) throw new RangeError(`compared ${a.length} values with ${b.length}`);
    for (let i = 0; i < a.length; i++) {
      const difference = (a[i] as number) - (b[i] as number); // both in range
      this.difference += difference * difference;
      this.reference += (b[i] as number) ** 2;
      // NaN fails every comparison: it must count as the largest error.
      if (!(Math.abs(difference) <= this.maxAbs))
        this.maxAbs = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.abs(difference);
    }
    return this;
  }

  get value(): number {
    if (Number.isNaN(this.difference)) return Number.POSITIVE_INFINITY;
    if (this.reference === 0) return this.difference === 0 ? 0 : Number.POSITIVE_INFINITY;
    return Math.sqrt(this.difference / this.reference);
  }
}

export const relativeRms = (a: ArrayLike<number>, b: ArrayLike<number>): number => new RelativeRms().add(a, b).value;

/** log Σ exp(x) in float64. */
export function logSumExp(x: ArrayLike<number>): number {
  let top = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < x.length; i++) top = Math.max(top, x[i] as number);
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += Math.exp((x[i] as number) - top);
  return top + Math.log(sum);
}

/** The largest value's index (the lowest among equals) and its lead over the second. */
export function topTwo(x: ArrayLike<number>): { readonly index: number; readonly gap: number } {
  let index = 0;
  let second = Number.NEGATIVE_INFINITY;
  for (let i = 1; i < x.length; i++) {
    const value = x[i] as number;
    if (value > (x[index] as number)) {
      second = x[index] as number;
      index = i;
    } else if (value > second) second = value;
  }
  return { index, gap: (x[index] as number) - second };
}

/** One line of a report: what was compared, its error, and whether that is within the tolerance. */
export interface Check {
  readonly name: string;
  readonly passed: boolean;
  /** The error measure, readable: "rel RMS 3.1e-7 (≤ 1e-4)". */
  readonly detail: string;
  readonly skipped?: boolean;
}

/** The message of anything thrown, on one line: reports have one line a case. */
export function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\s*\n\s*/g, " ");
}

export function checkRms(name: string, value: number, tolerance: number): Check {
  return {
    name,
    passed: value <= tolerance,
    detail: `relative RMS ${value.toExponential(2)} (at most ${tolerance})`,
  };
}

/** Whole numbers that must be equal: how many differ. */
export function checkWords(name: string, found: ArrayLike<number>, expected: ArrayLike<number>): Check {
  let different = found.length === expected.length ? 0 : Math.abs(found.length - expected.length);
  for (let i = 0; i < expected.length; i++) if (found[i] !== expected[i]) different++;
  const detail = different === 0 ? `${expected.length} equal` : `${different} of ${expected.length} differ`;
  return { name, passed: different === 0, detail };
}
