/**
 * The factor by which rounding errors of earlier columns are made good in later ones.
 *
 *   H = (I + U) D (I + U)ᵀ,  U strictly upper triangular, D diagonal
 *
 * For one row of weights with rounding errors e:  e H eᵀ = Σ over c of D_c (e_c + Σ over k < c of e_k U_kc)²
 * A column that is rounded towards w_c + Σ over k < c of e_k U_kc (e = weight − rounded) therefore adds only its own
 * rounding error to the sum, whatever was lost before it.
 *
 * Source  Chee et al. 2023 (QuIP), arXiv 2307.13304, section 3: the same rounding as GPTQ (Frantar et al. 2022, arXiv
 *         2210.17323), which writes it with the Cholesky factor of H⁻¹; here nothing is inverted.
 */

export interface FeedbackFactor {
  readonly size: number;
  /** Uᵀ, row-major: row c holds U_kc for k < c. */
  readonly feedback: Float64Array;
  /** D: what a squared error of each column costs once earlier errors are made good. */
  readonly cost: Float64Array;
}

/**
 * @param hessian [size, size], symmetric, positive definite; not changed.
 * @throws {RangeError} it is not positive definite: more damping is needed.
 */
export function feedbackFactor(hessian: Float64Array, size: number): FeedbackFactor {
  const rest = hessian.slice(); // the lower triangle of what the columns behind have not explained
  const feedback = new Float64Array(size * size);
  const cost = new Float64Array(size);
  for (let c = size - 1; c >= 0; c--) {
    const row = c * size;
    const pivot = rest[row + c]!;
    if (!(pivot > 0)) throw new RangeError(`feedbackFactor: the matrix is not positive definite at column ${c}`);
    cost[c] = pivot;
    for (let k = 0; k < c; k++) feedback[row + k] = rest[row + k]! / pivot;
    for (let i = 0; i < c; i++) {
      const scaled = rest[row + i]!;
      if (scaled === 0) continue;
      for (let k = 0; k <= i; k++) rest[i * size + k] = rest[i * size + k]! - scaled * feedback[row + k]!;
    }
  }
  return { size, feedback, cost };
}
