/** Routing on the CPU. Tasks are tokens. */
import { expScalar } from "../simd.inline.as";
import { routeToken } from "./route.inline.as";

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

export function routeExperts(args: usize, begin: i32, end: i32, worker: i32): void {
  const p = changetype<RouteExpertsArgs>(args);
  for (let token = begin; token < end; token++) {
    const choices = (<usize>token * <usize>p.topK) << 2;
    const logits = p.logits + ((<usize>token * <usize>p.experts) << 2);
    routeToken(logits, p.experts, p.topK, p.normalise, p.chosen + choices, p.weights + choices);
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
