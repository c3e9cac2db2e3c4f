/**
 * Rounding a matrix to int4 so that its products stay near, instead of its weights.
 *
 *   minimise over codes and scales: Σ over rows of e H eᵀ,  e = w − scale · code
 *
 * Columns are rounded in their order; each makes good what the columns before it lost (feedback-factor.ts). When a group
 * begins, all its candidate scales are tried and the one is kept whose columns add least to the sum.
 *
 * Axes    R rows, C columns; row-major.
 * Source  GPTQ: Frantar et al. 2022, arXiv 2210.17323.
 * Departs natural order of columns (groups are contiguous in the format); the scale is searched with feedback inside the
 *         group, not before it. Then polished (polish-int4.ts).
 */
import { candidateScales, nearestCode } from "../../ops/index.js";
import type { FeedbackFactor } from "./feedback-factor.js";

/** Codes −8 … 7 [R, C] and scales [R, ceil(C / group)]. */
export interface Int4Rows {
  readonly codes: Int8Array;
  readonly scales: Float32Array;
}

export interface Int4Options {
  readonly group: number;
  /** How scales will be stored. */
  readonly roundScale: (scale: number) => number;
}

/** @param values [R, C]. */
export function roundInt4(
  values: Float32Array,
  rows: number,
  factor: FeedbackFactor,
  { group, roundScale }: Int4Options,
): Int4Rows {
  const { size: C, feedback, cost } = factor;
  const groups = Math.ceil(C / group);
  const codes = new Int8Array(rows * C);
  const scales = new Float32Array(rows * groups);
  const errors = new Float64Array(C);
  const targets = new Float64Array(group);
  for (let row = 0; row < rows; row++) {
    const at = row * C;
    for (let first = 0; first < C; first += group) {
      const size = Math.min(group, C - first);
      // What the groups before have left to make good.
      for (let i = 0; i < size; i++) {
        const line = (first + i) * C;
        let target = values[at + first + i]!;
        for (let k = 0; k < first; k++) target += errors[k]! * feedback[line + k]!;
        targets[i] = target;
      }
      /** Rounds the group; its part of the sum, or a value of at least `limit`. */
      const round = (scale: number, limit: number): number => {
        let total = 0;
        for (let i = 0; i < size && total < limit; i++) {
          const line = (first + i) * C + first;
          let target = targets[i]!;
          for (let k = 0; k < i; k++) target += errors[first + k]! * feedback[line + k]!;
          const code = nearestCode(target, scale);
          codes[at + first + i] = code;
          errors[first + i] = values[at + first + i]! - scale * code;
          total += cost[first + i]! * (target - scale * code) ** 2;
        }
        return total;
      };
      let best = { scale: 0, loss: Number.POSITIVE_INFINITY };
      for (const scale of candidateScales(targets.subarray(0, size), roundScale)) {
        const loss = round(scale, best.loss);
        if (loss < best.loss) best = { scale, loss };
      }
      round(best.scale, Number.POSITIVE_INFINITY);
      scales[row * groups + first / group] = best.scale;
    }
  }
  return { codes, scales };
}
