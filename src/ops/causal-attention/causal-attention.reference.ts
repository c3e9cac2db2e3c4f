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
        const keys = Array.from({ length: t - firstToken + 1 }, (_, i) => firstToken + i).filter((j) => t - j < window);
        const scores = keys.map((j) => {
          let sum = 0;
          for (let c = 0; c < D; c++) {
            sum += qkv[(t * columns + h) * D + c]! * qkv[(j * columns + heads + g) * D + c]!;
          }
          return sum * scale;
        });
        const best = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - best));
        const total = weights.reduce((a, b) => a + b, 0);
        for (const [i, j] of keys.entries()) {
          for (let c = 0; c < D; c++) {
            const value = qkv[(j * columns + heads + kvHeads + g) * D + c]!;
            out[(t * heads + h) * D + c]! += (weights[i]! / total) * value;
          }
        }
      }
    }
  }
  return out;
}
