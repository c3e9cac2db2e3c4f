/** `gatherLastTokens` with plain loops. */
import { ROW, ROW_WORDS } from "../step/layout.js";

/**
 * @param x [T, C].
 * @param rows [R, ROW_WORDS].
 */
export function gatherLastTokensReference(x: Float32Array, C: number, rows: ArrayLike<number>): Float32Array {
  const R = rows.length / ROW_WORDS;
  const T = x.length / C;
  const y = new Float32Array(R * C);
  for (let row = 0; row < R; row++) {
    const count = rows[row * ROW_WORDS + ROW.tokenCount]!;
    const token = rows[row * ROW_WORDS + ROW.firstToken]! + count - 1;
    if (count < 1 || token < 0 || token >= T) continue;
    for (let c = 0; c < C; c++) y[row * C + c] = x[token * C + c]!;
  }
  return y;
}
