/**
 * Which scales a group of int4 weights may have.
 *
 *   scale = ± largest magnitude / d,  d = 7, 7.25, … 11;   w ≈ scale · code, code = −8 … 7
 *
 * With d = 7 nothing is cut off; with d = 8 the code −8, which has no counterpart, takes the largest value: the sign decides
 * which side gets it. Beyond, the largest values are cut off and all others rounded more finely, which often is the better
 * bargain: of 32 normal numbers the largest stands alone.
 */

/** Largest d: a third of the largest magnitude is cut off. */
const FINEST = 11;
const STEP = 0.25;

/** The code −8 … 7 whose multiple of `scale` lies nearest. */
export function nearestCode(value: number, scale: number): number {
  return scale === 0 ? 0 : Math.max(-8, Math.min(7, Math.round(value / scale)));
}

/** Scales to try, as they will be stored; zero alone for a group of zeros. */
export function candidateScales(values: ArrayLike<number>, roundScale: (scale: number) => number): number[] {
  let extreme = 0;
  for (let i = 0; i < values.length; i++) if (Math.abs(values[i]!) > Math.abs(extreme)) extreme = values[i]!;
  if (extreme === 0) return [0];
  // The exact fits first: of equal errors the first is taken.
  const scales: number[] = [roundScale(Math.abs(extreme) / 7), roundScale(extreme / -8)];
  for (let d = 7 + STEP; d <= FINEST; d += STEP) {
    scales.push(roundScale(extreme / d), roundScale(extreme / -d));
  }
  return scales;
}
