/** Routing on the CPU. Tasks are tokens. */
import { expScalar } from "../simd.inline.as";

@unmanaged
class RouteExpertsArgs {
  /** [T, experts] f32. */
  logits: usize;
  /** [T, topK] i32. */
  chosen: usize;
  /** [T, topK] f32. */
  weights: usize;
  experts: i32;
  topK: i32;
  normalise: i32;
}

/** Whether expert a with logit x comes before expert b with logit y. */
// @ts-ignore: decorator
@inline
function isBefore(a: i32, x: f32, b: i32, y: f32): bool {
  return x > y || (x == y && a < b);
}

export function routeExperts(args: usize, begin: i32, end: i32, worker: i32): void {
  const p = changetype<RouteExpertsArgs>(args);
  for (let token = begin; token < end; token++) {
    const row = p.logits + ((<usize>token * <usize>p.experts) << 2);
    const chosen = p.chosen + ((<usize>token * <usize>p.topK) << 2);
    const weights = p.weights + ((<usize>token * <usize>p.topK) << 2);
    // NaN has no rank of its own: its place keeps an expert in range.
    for (let j = 0; j < p.topK; j++) store<i32>(chosen + ((<usize>j) << 2), j);
    for (let e = 0; e < p.experts; e++) {
      const own = load<f32>(row + ((<usize>e) << 2));
      let rank = 0;
      for (let other = 0; other < p.experts; other++) {
        rank += i32(isBefore(other, load<f32>(row + ((<usize>other) << 2)), e, own));
      }
      if (rank < p.topK) store<i32>(chosen + ((<usize>rank) << 2), e);
    }
    const largest = load<f32>(row + ((<usize>load<i32>(chosen)) << 2));
    let sum: f32 = 0;
    for (let j = 0; j < p.topK; j++) {
      const expert = load<i32>(chosen + ((<usize>j) << 2));
      const weight = expScalar(load<f32>(row + ((<usize>expert) << 2)) - largest);
      store<f32>(weights + ((<usize>j) << 2), weight);
      sum += weight;
    }
    if (!p.normalise) {
      sum = 0;
      for (let e = 0; e < p.experts; e++) sum += expScalar(load<f32>(row + ((<usize>e) << 2)) - largest);
    }
    for (let j = 0; j < p.topK; j++) {
      const at = weights + ((<usize>j) << 2);
      store<f32>(at, load<f32>(at) / sum);
    }
  }
}
