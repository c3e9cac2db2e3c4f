/** prepareKv in float64, slow and obvious: see prepare.ts for the formulas. */
import { fwhtReference } from "../fwht/fwht.reference.js";
import { type RopeAppendReferenceInput, ropeAppendReference } from "../rope-append/rope-append.reference.js";
import { type PackedFormat, ringTokens } from "./format.js";

export interface PrepareReferenceInput extends RopeAppendReferenceInput {
  readonly format: PackedFormat;
  /** [G, D] and [G, meanPairs]. */
  readonly mean?: ArrayLike<number>;
  readonly pairs?: ArrayLike<number>;
  readonly order?: ArrayLike<number>;
  /** [G, D]. */
  readonly valueMean?: ArrayLike<number>;
}

export interface PrepareReferenceResult {
  /** [T, (H + 2G)·D], not rounded to f16. */
  readonly qkv: Float64Array;
  readonly keyRows: Float64Array | undefined;
  readonly meanTerms: Float64Array | undefined;
}

export function prepareReference(o: PrepareReferenceInput): PrepareReferenceResult {
  const { format, heads, kvHeads, headDim, positions } = o;
  const columns = heads + 2 * kvHeads;
  const rotated = ropeAppendReference(o);
  const qkv = rotated.slice();
  const { rope: _, ...withoutRope } = o;
  const plain = ropeAppendReference(withoutRope);
  const at = (t: number, column: number) => (t * columns + column) * headDim;
  positions.forEach((_position, t) => {
    for (let column = 0; column < columns; column += 1) {
      const group = column - heads - kvHeads;
      for (let c = 0; format.valueMean && group >= 0 && c < headDim; c += 1) {
        const i = at(t, column) + c;
        qkv[i] = qkv[i]! - o.valueMean![group * headDim + c]!;
      }
      const width = column >= heads + kvHeads ? format.valueRotation : format.ropeAtRead ? 0 : format.keyRotation;
      if (width === 0) continue;
      const head = qkv.subarray(at(t, column), at(t, column + 1));
      head.set(fwhtReference(head, width));
    }
  });
  const channels = kvHeads * headDim;
  let keyRows: Float64Array | undefined;
  if (format.ropeAtRead) {
    keyRows = new Float64Array(positions.length * channels);
    for (let t = 0; t < positions.length; t += 1) {
      const keys = plain.subarray(at(t, heads), at(t, heads + kvHeads));
      const row = format.keyRotation > 0 ? fwhtReference(keys, format.keyRotation) : keys;
      keyRows.set(o.order ? row.map((_value, c) => row[o.order![c]!]!) : row, t * channels);
    }
  }
  return { qkv, keyRows, meanTerms: format.meanPairs > 0 ? meanTerms(o, rotated) : undefined };
}

/** A = q_i μ_i + q_j μ_j, B = q_j μ_i − q_i μ_j, j = i + r/2. */
function meanTerms(o: PrepareReferenceInput, rotated: Float64Array): Float64Array {
  const { format, heads, kvHeads, headDim, positions } = o;
  const { meanPairs } = format;
  const half = o.rope!.inverse.length;
  const terms = new Float64Array(positions.length * heads * meanPairs * 2);
  for (let t = 0; t < positions.length; t += 1) {
    for (let h = 0; h < heads; h += 1) {
      const g = Math.floor((h * kvHeads) / heads);
      for (let m = 0; m < meanPairs; m += 1) {
        const i = o.pairs![g * meanPairs + m]!;
        const from = (t * (heads + 2 * kvHeads) + h) * headDim + i;
        const [q0, q1] = [rotated[from]!, rotated[from + half]!];
        const [m0, m1] = [o.mean![g * headDim + i]!, o.mean![g * headDim + i + half]!];
        const to = ((t * heads + h) * meanPairs + m) * 2;
        terms[to] = q0 * m0 + q1 * m1;
        terms[to + 1] = q1 * m0 - q0 * m1;
      }
    }
  }
  return terms;
}

/** Kinds whose k and v are rounded to f16. */
export function roundsToHalves(format: PackedFormat): boolean {
  return ringTokens(format) > 0;
}
