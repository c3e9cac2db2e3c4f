/** The routing of one token: shared by the operation and by the expert layer that folds it into its own launch. */
import { expScalar } from "../simd.inline.as";

/** Whether expert a with logit x comes before expert b with logit y. */
// @ts-ignore: decorator
@inline
function isBefore(a: i32, x: f32, b: i32, y: f32): bool {
  return x > y || (x == y && a < b);
}

/** From `experts` logits: the `topK` chosen, i32, and their weights, f32. */
export function routeToken(logits: usize, experts: i32, topK: i32, normalise: i32, chosen: usize, weights: usize): void {
  // NaN has no rank of its own: its place keeps an expert in range.
  for (let j = 0; j < topK; j++) store<i32>(chosen + ((<usize>j) << 2), j);
  for (let e = 0; e < experts; e++) {
    const own = load<f32>(logits + ((<usize>e) << 2));
    let rank = 0;
    for (let other = 0; other < experts; other++) {
      rank += i32(isBefore(other, load<f32>(logits + ((<usize>other) << 2)), e, own));
    }
    if (rank < topK) store<i32>(chosen + ((<usize>rank) << 2), e);
  }
  const largest = load<f32>(logits + ((<usize>load<i32>(chosen)) << 2));
  let sum: f32 = 0;
  for (let j = 0; j < topK; j++) {
    const expert = load<i32>(chosen + ((<usize>j) << 2));
    const weight = expScalar(load<f32>(logits + ((<usize>expert) << 2)) - largest);
    store<f32>(weights + ((<usize>j) << 2), weight);
    sum += weight;
  }
  if (!normalise) {
    sum = 0;
    for (let e = 0; e < experts; e++) sum += expScalar(load<f32>(logits + ((<usize>e) << 2)) - largest);
  }
  for (let j = 0; j < topK; j++) {
    const at = weights + ((<usize>j) << 2);
    store<f32>(at, load<f32>(at) / sum);
  }
}
