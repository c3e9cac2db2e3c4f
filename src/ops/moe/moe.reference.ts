/** The expert layer in float64 loops: what every kernel is tested against. */
import { activationReference } from "../matmul/matmul.reference.js";
import { routeExpertsReference } from "../route-experts/route-experts.reference.js";

type Numbers = ArrayLike<number>;

export interface MoeReferenceInput {
  /** [T, H]. */
  readonly x: Numbers;
  /** [E, H]. */
  readonly router: Numbers;
  /** [E · 2 I, H], decoded. */
  readonly gateUp: Numbers;
  /** [E · H, I], decoded. */
  readonly down: Numbers;
  readonly T: number;
  readonly H: number;
  readonly I: number;
  readonly experts: number;
  readonly topK: number;
  readonly normalise: boolean;
  readonly residual?: { readonly tensor: Numbers; readonly alpha: number; readonly beta: number } | undefined;
  /** output [T, H], coefficient [T]. */
  readonly shared?: { readonly output: Numbers; readonly coefficient?: Numbers | undefined } | undefined;
}

/** @returns [T, H]. */
export function moeReference(input: MoeReferenceInput): Float64Array {
  const { x, router, gateUp, down, T, H, I, experts, residual, shared } = input;
  const logits = Float64Array.from({ length: T * experts }, (_, i) => {
    const t = Math.floor(i / experts);
    return dot(x, t * H, router, (i % experts) * H, H);
  });
  const routes = routeExpertsReference(logits, T, experts, input);
  const out = new Float64Array(T * H);
  for (let t = 0; t < T; t++) {
    const y = new Float64Array(H);
    for (let j = t * input.topK; j < (t + 1) * input.topK; j++) {
      const expert = routes.experts[j]!;
      const inner = Float64Array.from({ length: I }, (_, i) => {
        const gate = dot(x, t * H, gateUp, (expert * 2 * I + i) * H, H);
        return activationReference("silu", gate) * dot(x, t * H, gateUp, (expert * 2 * I + I + i) * H, H);
      });
      for (let c = 0; c < H; c++) y[c]! += routes.weights[j]! * dot(inner, 0, down, (expert * H + c) * I, I);
    }
    const mixed = shared?.coefficient ? activationReference("sigmoid", shared.coefficient[t]!) : undefined;
    for (let c = 0; c < H; c++) {
      const at = t * H + c;
      let value = y[c]!;
      if (shared)
        value = mixed === undefined ? value + shared.output[at]! : (1 - mixed) * value + mixed * shared.output[at]!;
      if (residual) value = residual.alpha * residual.tensor[at]! + residual.beta * value;
      out[at] = value;
    }
  }
  return out;
}

function dot(a: Numbers, aAt: number, b: Numbers, bAt: number, count: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += a[aAt + i]! * b[bAt + i]!;
  return sum;
}
