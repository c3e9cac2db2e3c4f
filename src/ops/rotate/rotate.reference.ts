/** Rotary embedding in float64. */

export interface RotateReferenceInput {
  /** [T, columns, D]. */
  readonly x: ArrayLike<number>;
  readonly positions: readonly number[];
  readonly columns: number;
  readonly turnedHeads: number;
  readonly headDim: number;
  readonly rotaryDim: number;
  readonly theta: number;
}

export function rotateReference(o: RotateReferenceInput): Float64Array {
  const { x, positions, columns, turnedHeads, headDim, rotaryDim, theta } = o;
  const y = Float64Array.from(x);
  for (const [t, position] of positions.entries()) {
    for (let head = 0; head < turnedHeads; head++) {
      const at = (t * columns + head) * headDim;
      for (let i = 0; i < rotaryDim / 2; i++) {
        const angle = position * theta ** (-(2 * i) / rotaryDim);
        const [a, b] = [x[at + i]!, x[at + i + rotaryDim / 2]!];
        y[at + i] = a * Math.cos(angle) - b * Math.sin(angle);
        y[at + i + rotaryDim / 2] = b * Math.cos(angle) + a * Math.sin(angle);
      }
    }
  }
  return y;
}
