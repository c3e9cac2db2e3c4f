/** The matrix product in float64 loops: what every kernel is tested against. */
import type { Activation } from "./plan.js";

type Numbers = ArrayLike<number>;

export interface MatmulReferenceInput {
  /** [T, K]. */
  readonly x: Numbers;
  /** [rows, K], decoded. */
  readonly w: Numbers;
  readonly T: number;
  readonly K: number;
  /** Rows of w: N', or 2 N' with `gate`. */
  readonly rows: number;
  readonly bias?: Numbers | undefined;
  readonly activation?: Activation | undefined;
  readonly gate?: boolean | undefined;
  readonly multiply?: Numbers | undefined;
  readonly residual?: { readonly tensor: Numbers; readonly alpha: number; readonly beta: number } | undefined;
}

export function activationReference(activation: Activation, z: number): number {
  switch (activation) {
    case "none":
      return z;
    case "silu":
      return z / (1 + Math.exp(-z));
    case "sigmoid":
      return 1 / (1 + Math.exp(-z));
    case "gelu":
      return 0.5 * z * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3)));
  }
}

/** @returns [T, N']. */
export function matmulReference(input: MatmulReferenceInput): Float64Array {
  const { x, w, T, K, rows, bias, gate = false, multiply, residual } = input;
  const activation = input.activation ?? (gate ? "silu" : "none");
  const N = gate ? rows / 2 : rows;
  const out = new Float64Array(T * N);
  for (let t = 0; t < T; t++) {
    const product = (row: number): number => {
      let sum = bias?.[row] ?? 0;
      for (let k = 0; k < K; k++) sum += x[t * K + k]! * w[row * K + k]!;
      return sum;
    };
    for (let n = 0; n < N; n++) {
      const at = t * N + n;
      let y = activationReference(activation, product(n));
      if (gate) y *= product(N + n);
      if (multiply) y *= multiply[at]!;
      if (residual) y = residual.alpha * residual.tensor[at]! + residual.beta * y;
      out[at] = y;
    }
  }
  return out;
}
