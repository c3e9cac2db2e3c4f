/** Routing on the CPU. Tasks are tokens. */
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
