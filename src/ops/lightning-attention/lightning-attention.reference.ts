/** Lightning attention in float64, token by token: what every kernel is tested against. */

type Numbers = ArrayLike<number>;

export interface LightningReferenceInput {
  /** [T, H, 3, D]. */
  readonly qkv: Numbers;
  /** [slots, H, D, D] before the step. */
  readonly state: Numbers;
  /** [H]. */
  readonly decay: Numbers;
  /** The step's rows in any order; slot −1: a dead row. */
  readonly rows: readonly { readonly firstToken: number; readonly tokenCount: number; readonly slot: number }[];
  readonly heads: number;
  readonly headDim: number;
}

export interface LightningReferenceOutput {
  /** [T, H, D]. */
  readonly out: Float64Array;
  /** [slots, H, D, D] after the step. */
  readonly state: Float64Array;
}

export function lightningAttentionReference(input: LightningReferenceInput): LightningReferenceOutput {
  const { qkv, decay, rows, heads, headDim: D } = input;
  const out = new Float64Array(qkv.length / 3);
  const state = Float64Array.from(input.state);
  for (const row of rows) {
    if (row.slot < 0) continue;
    for (let h = 0; h < heads; h++) {
      const lambda = Math.exp(-decay[h]!);
      const S = state.subarray((row.slot * heads + h) * D * D, (row.slot * heads + h + 1) * D * D);
      for (let t = row.firstToken; t < row.firstToken + row.tokenCount; t++) {
        const q = (t * heads + h) * 3 * D;
        const k = q + D;
        const v = k + D;
        const o = (t * heads + h) * D;
        for (let r = 0; r < D; r++) {
          for (let c = 0; c < D; c++) {
            const next = lambda * S[r * D + c]! + qkv[k + r]! * qkv[v + c]!;
            S[r * D + c] = next;
            out[o + c]! += qkv[q + r]! * next;
          }
        }
      }
    }
  }
  return { out, state };
}
