/** Causal attention within rows, in float64. */

export interface CausalReferenceInput {
  /** [T, H + 2G, D]. */
  readonly qkv: ArrayLike<number>;
  readonly rows: readonly { readonly firstToken: number; readonly tokenCount: number }[];
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly scale: number;
  readonly window?: number | undefined;
}

export function causalAttentionReference(o: CausalReferenceInput): Float64Array {
  const { qkv, rows, heads, kvHeads, headDim: D, scale, window = Number.POSITIVE_INFINITY } = o;
  const columns = heads + 2 * kvHeads;
  const T = qkv.length / columns / D;
  const out = new Float64Array(T * heads * D);
  for (const { firstToken, tokenCount } of rows) {
    for (let t = firstToken; t < firstToken + tokenCount; t++) {
      for (let h = 0; h < heads; h++) {
        const g = Math.floor((h * kvHeads) / heads);
        const first = Math.max(firstToken, t - window + 1);
        const query = (t * columns + h) * D;
        const weights = new Float64Array(t - first + 1);
        let best = Number.NEGATIVE_INFINITY;
        for (let j = first; j <= t; j++) {
          const key = (j * columns + heads + g) * D;
          let sum = 0;
          for (let c = 0; c < D; c++) sum += qkv[query + c]! * qkv[key + c]!;
          weights[j - first] = sum * scale;
          best = Math.max(best, sum * scale);
        }
        let total = 0;
        for (let j = first; j <= t; j++) total += weights[j - first] = Math.exp(weights[j - first]! - best);
        for (let j = first; j <= t; j++) {
          const value = (j * columns + heads + kvHeads + g) * D;
          for (let c = 0; c < D; c++) out[(t * heads + h) * D + c]! += (weights[j - first]! / total) * qkv[value + c]!;
        }
      }
    }
  }
  return out;
}
