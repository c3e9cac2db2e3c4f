/**
 * Which experts a token goes to, and with what weights.
 *
 *   p[t] = softmax(logits[t]);   experts[t] = the k largest of p[t], largest first
 *   weights[t, j] = p[t, experts[t, j]],  with `normalise` divided by the sum of the selected
 *
 * Axes      T tokens, E experts, k choices; row-major. logits: f32 [T, E]; experts: i32 [T, k]; weights: f32 [T, k].
 * Precision float32; exponents are taken relative to the largest logit.
 * Our choice ties: the lower expert index comes first. Logits are compared rather than probabilities, which are equal more
 *           often after rounding. Logits that are NaN still give k experts in range.
 */
import { empty, record, ShapeError, type Tensor } from "../../tensor/index.js";
import { routeBackward } from "./route-experts.gradient.js";
import { MAX_EXPERTS, routeExpertsKernel, routeExpertsParams } from "./route-experts.wgsl.js";

export interface RouteOptions {
  /** k, 1 … E. */
  readonly topK: number;
  /** Whether the weights of a token's experts add up to 1. */
  readonly normalise: boolean;
}

export interface Routes {
  /** i32 [T, k]. */
  readonly experts: Tensor;
  /** f32 [T, k]. */
  readonly weights: Tensor;
}

/**
 * The k experts of each token; see the file's header.
 *
 * @param logits f32 [T, E], E ≤ 1024.
 * @throws {ShapeError} the logits are no matrix, or have too many experts.
 * @throws {RangeError} `topK` is not 1 … E.
 */
export function routeExperts(logits: Tensor, { topK, normalise }: RouteOptions): Routes {
  const [T, E] = logits.shape;
  if (T === undefined || E === undefined || logits.shape.length !== 2 || T < 1 || E < 1 || E > MAX_EXPERTS) {
    throw new ShapeError("routeExperts", "logits", `[T ≥ 1, E = 1 … ${MAX_EXPERTS}]`, logits.shape);
  }
  if (logits.dtype !== "f32") throw new TypeError(`routeExperts: logits expected f32, got ${logits.dtype}`);
  if (!Number.isInteger(topK) || topK < 1 || topK > E) {
    throw new RangeError(`routeExperts: topK expected 1 … ${E} (the experts), got ${topK}`);
  }
  const { device } = logits;
  const experts = empty(device, [T, topK], "i32", "experts");
  const weights = empty(device, [T, topK], "f32", "expert weights");
  const cost = { bytes: logits.byteLength + experts.byteLength + weights.byteLength, operations: T * E * topK };
  if (device.kind === "cpu") {
    device.run("routeExperts", { arguments: [logits, experts, weights, E, topK, normalise], tasks: T, cost });
  } else {
    const height = Math.min(T, device.limits.maxWorkgroupsPerDimension);
    device.run(routeExpertsKernel, {
      buffers: [logits, experts, weights],
      params: routeExpertsParams.write({ tokens: T, experts: E, topK, normalise: normalise ? 1 : 0 }),
      grid: [height, Math.ceil(T / height)],
      cost,
    });
  }
  record("routeExperts", [logits], [experts, weights], routeBackward(logits, experts, weights, normalise));
  return { experts, weights };
}
