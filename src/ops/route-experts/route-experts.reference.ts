/** Routing in float64 loops. */
import type { RouteOptions } from "./route-experts.js";

/** @param logits [T, E]. @returns experts and weights, [T, k]. */
export function routeExpertsReference(
  logits: ArrayLike<number>,
  T: number,
  E: number,
  { topK, normalise }: RouteOptions,
): { experts: Int32Array; weights: Float64Array } {
  const experts = new Int32Array(T * topK);
  const weights = new Float64Array(T * topK);
  for (let t = 0; t < T; t++) {
    const row = Array.from({ length: E }, (_, e) => logits[t * E + e]!);
    const largest = Math.max(...row);
    const all = row.reduce((sum, logit) => sum + Math.exp(logit - largest), 0);
    // Sorting is stable: equal logits stay in the order of their experts.
    const chosen = row
      .map((_, e) => e)
      .sort((a, b) => row[b]! - row[a]!)
      .slice(0, topK);
    const p = chosen.map((e) => Math.exp(row[e]! - largest) / all);
    const sum = normalise ? p.reduce((a, b) => a + b, 0) : 1;
    experts.set(chosen, t * topK);
    weights.set(
      p.map((one) => one / sum),
      t * topK,
    );
  }
  return { experts, weights };
}
