/** Attention in float64, slow and obvious: see attention.ts for the formula. */

/** Keys and values of one sequence, [length, G, D], as the cache holds them. */
export interface History {
  readonly keys: ArrayLike<number>;
  readonly values: ArrayLike<number>;
}

export interface AttentionReferenceInput {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly scale: number;
  readonly window?: number;
  /** [T, (H + 2G)·D]; only q is read. */
  readonly qkv: ArrayLike<number>;
  /** For each token its position and its sequence; a dead token has none. */
  readonly tokens: readonly { readonly position: number; readonly history: History | undefined }[];
}

/** @returns [T, H·D] */
export function attentionReference(o: AttentionReferenceInput): Float64Array {
  const { heads, kvHeads, headDim, qkv } = o;
  const out = new Float64Array(o.tokens.length * heads * headDim);
  o.tokens.forEach(({ position, history }, t) => {
    if (!history) return;
    for (let h = 0; h < heads; h += 1) {
      const q = (t * (heads + 2 * kvHeads) + h) * headDim;
      const g = Math.floor((h * kvHeads) / heads);
      const first = Math.max(0, position - (o.window ?? Number.POSITIVE_INFINITY) + 1);
      const scores: number[] = [];
      for (let j = first; j <= position; j += 1) {
        let dot = 0;
        for (let c = 0; c < headDim; c += 1) dot += qkv[q + c]! * history.keys[(j * kvHeads + g) * headDim + c]!;
        scores.push(dot * o.scale);
      }
      const most = Math.max(...scores);
      const weights = scores.map((s) => Math.exp(s - most));
      const total = weights.reduce((sum, w) => sum + w, 0);
      weights.forEach((w, i) => {
        for (let c = 0; c < headDim; c += 1) {
          const value = history.values[((first + i) * kvHeads + g) * headDim + c]!;
          out[(t * heads + h) * headDim + c]! += (w / total) * value;
        }
      });
    }
  });
  return out;
}
