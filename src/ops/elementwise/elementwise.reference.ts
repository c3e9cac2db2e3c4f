/** Elementwise operations in float64. */
import type { ActivationName } from "./elementwise.js";

type Numbers = ArrayLike<number>;

export const activationReference: Readonly<Record<ActivationName, (x: number) => number>> = {
  silu: (x) => x / (1 + Math.exp(-x)),
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  gelu: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
};

export function mixReference(a: Numbers, b: Numbers, alpha: number, beta: number): Float64Array {
  return Float64Array.from(a, (x, i) => alpha * x + beta * b[i]!);
}

export function multiplyReference(a: Numbers, b: Numbers): Float64Array {
  return Float64Array.from(a, (x, i) => x * b[i]!);
}

export function activateReference(x: Numbers, activation: ActivationName): Float64Array {
  return Float64Array.from(x, activationReference[activation]);
}

/** x: [T, 2N]. */
export function gatedReference(x: Numbers, N: number, activation: ActivationName): Float64Array {
  const T = x.length / (2 * N);
  const y = new Float64Array(T * N);
  for (let t = 0; t < T; t++) {
    for (let n = 0; n < N; n++)
      y[t * N + n] = activationReference[activation](x[t * 2 * N + n]!) * x[t * 2 * N + N + n]!;
  }
  return y;
}

/** x: [T, N]; bias: [N]. */
export function addBiasReference(x: Numbers, bias: Numbers): Float64Array {
  return Float64Array.from(x, (value, i) => value + bias[i % bias.length]!);
}

/** a, b: [T, N]; logit: [T]. */
export function blendReference(a: Numbers, b: Numbers, logit: Numbers): Float64Array {
  const N = a.length / logit.length;
  return Float64Array.from(a, (x, i) => {
    const share = activationReference.sigmoid(logit[Math.floor(i / N)]!);
    return (1 - share) * x + share * b[i]!;
  });
}
