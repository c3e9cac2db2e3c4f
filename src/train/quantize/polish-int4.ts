/**
 * Improving rounded rows until nothing moves: single codes, then scales, in turn.
 *
 *   code_c  ← nearest to (w_c + Σ over k ≠ c of e_k H_kc / H_cc) / scale       the best code while the others stand
 *   scale_g ← scale_g + (e H z) / (z H zᵀ),  z: the codes of group g, else 0   the best scale while the codes stand
 *
 * Every step lowers e H eᵀ or is not taken, so the result is never worse than what came in.
 *
 * Axes    R rows, C columns; row-major.
 * Source  coordinate descent on the loss of GPTQ (as in Behdin et al. 2023, arXiv 2309.01885), with scales among the
 *         coordinates.
 */
import { nearestCode } from "../../ops/index.js";
import type { Int4Options, Int4Rows } from "./round-int4.js";

/** Rounds of codes and scales; later ones hardly move anything. */
const ROUNDS = 4;

/**
 * Changes `rounded` in place.
 *
 * @param values [R, C].
 * @param hessian [C, C].
 */
export function polishInt4(
  values: Float32Array,
  rows: number,
  hessian: Float64Array,
  rounded: Int4Rows,
  { group, roundScale }: Int4Options,
): void {
  const C = values.length / rows;
  const groups = Math.ceil(C / group);
  const slope = new Float64Array(C); // e H
  /** e_c grows by `change`. */
  const move = (c: number, change: number): void => {
    const line = c * C;
    for (let k = 0; k < C; k++) slope[k] = slope[k]! + change * hessian[line + k]!;
  };
  for (let row = 0; row < rows; row++) {
    const w = values.subarray(row * C, (row + 1) * C);
    const codes = rounded.codes.subarray(row * C, (row + 1) * C);
    const scales = rounded.scales.subarray(row * groups, (row + 1) * groups);
    slope.fill(0);
    for (let c = 0; c < C; c++) move(c, w[c]! - scales[Math.floor(c / group)]! * codes[c]!);
    for (let round = 0; round < ROUNDS; round++) {
      let moved = false;
      for (let c = 0; c < C; c++) {
        const scale = scales[Math.floor(c / group)]!;
        const before = codes[c]!;
        // e_c enters the slope too: without it, w_c + Σ over k ≠ c … is this.
        const wanted = scale * before + slope[c]! / hessian[c * C + c]!;
        const code = nearestCode(wanted, scale);
        if (code === before) continue;
        codes[c] = code;
        move(c, scale * (before - code));
        moved = true;
      }
      for (let g = 0; g < groups; g++) {
        const [first, end] = [g * group, Math.min(C, (g + 1) * group)];
        let gradient = 0;
        let curvature = 0;
        for (let i = first; i < end; i++) {
          gradient += slope[i]! * codes[i]!;
          for (let k = first; k < end; k++) curvature += codes[i]! * hessian[i * C + k]! * codes[k]!;
        }
        if (curvature <= 0) continue;
        const scale = roundScale(scales[g]! + gradient / curvature);
        const change = scale - scales[g]!;
        // The stored scale may lie beyond the best one: taken only if the parabola is lower there.
        if (change === 0 || change * (change * curvature - 2 * gradient) >= 0) continue;
        for (let i = first; i < end; i++) if (codes[i] !== 0) move(i, -change * codes[i]!);
        scales[g] = scale;
        moved = true;
      }
      if (!moved) break;
    }
  }
}
