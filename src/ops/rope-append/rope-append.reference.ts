/** Norm and rotation of a step's heads in float64, slow and obvious: see rope-append.ts for the formulas. */

export interface RopeAppendReferenceInput {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** [T, (H + 2G)·D] */
  readonly qkv: ArrayLike<number>;
  readonly positions: readonly number[];
  /** Radians a position for each channel pair, and the factor on cosines and sines. */
  readonly rope?: { readonly inverse: ArrayLike<number>; readonly attentionFactor: number };
  readonly qNorm?: ArrayLike<number>;
  readonly kNorm?: ArrayLike<number>;
  readonly eps?: number;
}

/** @returns [T, (H + 2G)·D]: q and k normalised and rotated, v as it is. */
export function ropeAppendReference(o: RopeAppendReferenceInput): Float64Array {
  const { heads, kvHeads, headDim } = o;
  const columns = heads + 2 * kvHeads;
  const out = Float64Array.from(o.qkv);
  o.positions.forEach((position, t) => {
    for (let column = 0; column < heads + kvHeads; column += 1) {
      const head = out.subarray((t * columns + column) * headDim, (t * columns + column + 1) * headDim);
      const weight = column < heads ? o.qNorm : o.kNorm;
      if (weight) normalise(head, weight, o.eps ?? 1e-6);
      if (o.rope) rotate(head, position, o.rope.inverse, o.rope.attentionFactor);
    }
  });
  return out;
}

function normalise(x: Float64Array, weight: ArrayLike<number>, eps: number): void {
  const meanSquare = x.reduce((sum, v) => sum + v * v, 0) / x.length;
  x.forEach((v, c) => {
    x[c] = (v / Math.sqrt(meanSquare + eps)) * weight[c]!;
  });
}

function rotate(x: Float64Array, position: number, inverse: ArrayLike<number>, factor: number): void {
  const half = inverse.length;
  for (let i = 0; i < half; i += 1) {
    const cos = factor * Math.cos(position * inverse[i]!);
    const sin = factor * Math.sin(position * inverse[i]!);
    const [a, b] = [x[i]!, x[i + half]!];
    x[i] = a * cos - b * sin;
    x[i + half] = b * cos + a * sin;
  }
}
