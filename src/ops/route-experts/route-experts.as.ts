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

@unmanaged
class RouteGradientArgs {
  /** [T, experts]. */
  logits: usize;
  /** [T, topK]. */
  chosen: usize;
  weights: usize;
  dWeights: usize;
  /** [T, experts]. */
  dLogits: usize;
  experts: i32;
  topK: i32;
  normalise: i32;
}

export function routeExpertsGradient(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<RouteGradientArgs>(args);
  const E = g.experts;
  for (let t = begin; t < end; t++) {
    const logits = g.logits + ((<usize>(t * E)) << 2);
    const dLogits = g.dLogits + ((<usize>(t * E)) << 2);
    const pairs = (<usize>(t * g.topK)) << 2;
    let pull: f32 = 0;
    for (let j = 0; j < g.topK; j++) {
      const at = pairs + ((<usize>j) << 2);
      pull += load<f32>(g.weights + at) * load<f32>(g.dWeights + at);
    }
    memory.fill(dLogits, 0, (<usize>E) << 2);
    if (!g.normalise) {
      let best: f32 = -3.0e38;
      for (let e = 0; e < E; e++) best = max(best, load<f32>(logits + ((<usize>e) << 2)));
      let total: f32 = 0;
      for (let e = 0; e < E; e++) {
        const p = expScalar(load<f32>(logits + ((<usize>e) << 2)) - best);
        store<f32>(dLogits + ((<usize>e) << 2), p);
        total += p;
      }
      for (let e = 0; e < E; e++) {
        const p = load<f32>(dLogits + ((<usize>e) << 2)) / total;
        store<f32>(dLogits + ((<usize>e) << 2), -p * pull);
      }
    }
    for (let j = 0; j < g.topK; j++) {
      const at = pairs + ((<usize>j) << 2);
      const to = dLogits + ((<usize>load<i32>(g.chosen + at)) << 2);
      const weight = load<f32>(g.weights + at);
      const own = weight * load<f32>(g.dWeights + at);
      store<f32>(to, g.normalise ? own - weight * pull : load<f32>(to) + own);
    }
  }
}
