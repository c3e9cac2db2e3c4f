/** Muon in float64, of one unpadded matrix. */

export type Matrix = readonly (readonly number[])[];

const product = (a: Matrix, b: Matrix): number[][] =>
  a.map((row) => (b[0] ?? []).map((_, j) => row.reduce((sum, x, k) => sum + x * (b[k]?.[j] ?? 0), 0)));
const transposed = (a: Matrix): number[][] => (a[0] ?? []).map((_, j) => a.map((row) => row[j] ?? 0));
const combined = (x: number, a: Matrix, y: number, b: Matrix): number[][] =>
  a.map((row, i) => row.map((value, j) => x * value + y * (b[i]?.[j] ?? 0)));

/** Five steps of the quintic from u / ‖u‖. */
export function orthogonalReference(u: Matrix): number[][] {
  const norm = Math.sqrt(u.flat().reduce((sum, value) => sum + value * value, 0));
  let x = u.map((row) => row.map((value) => (norm === 0 ? 0 : value / norm)));
  for (let i = 0; i < 5; i++) {
    const a = product(x, transposed(x));
    x = combined(3.4445, x, 1, product(combined(-4.775, a, 2.0315, product(a, a)), x));
  }
  return x;
}

export interface MuonReference {
  weights: number[][];
  momentum: number[][];
}

/** One good step, in place. */
export function muonReference(
  state: MuonReference,
  gradient: Matrix,
  { rate, decay, factor, momentum }: { rate: number; decay: number; factor: number; momentum: number },
): void {
  state.momentum = combined(momentum, state.momentum, factor, gradient);
  const x = orthogonalReference(combined(factor, gradient, momentum, state.momentum));
  const size = 0.2 * Math.sqrt(Math.max(x.length, x[0]?.length ?? 0));
  state.weights = combined(1 - rate * decay, state.weights, -rate * size, x);
}
