/**
 * The gradient of routing, of the weights alone (which experts are chosen has none):
 *
 *   normalised  w = softmax over the chosen logits:  dz[e_j] = w_j (dw_j − Σ_i w_i dw_i), others 0
 *   else        w_j = p[e_j]:                        dz[e] = p[e] ([e = e_j] dw_j − Σ_i w_i dw_i)
 */
import type { WebGpuKernel } from "../../device/index.js";
import { params } from "../../device/index.js";
import { type Backward, empty, type Keep, type Tensor } from "../../tensor/index.js";

const routeGradientParams = params({ tokens: "u32", experts: "u32", topK: "u32", normalise: "u32" });

export const routeGradientKernel: WebGpuKernel = {
  label: "route-experts gradient",
  code: /* wgsl */ `
${routeGradientParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;       // [T, E]
@group(0) @binding(2) var<storage, read> experts: array<i32>;      // [T, k]
@group(0) @binding(3) var<storage, read> weights: array<f32>;      // [T, k]
@group(0) @binding(4) var<storage, read> dWeights: array<f32>;     // [T, k]
@group(0) @binding(5) var<storage, read_write> dLogits: array<f32>;

@compute @workgroup_size(64)   // a thread a token
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let t = (group.y * groups.x + group.x) * 64u + lane;
  if (t >= p.tokens) { return; }
  var pull = 0.0;
  for (var j = 0u; j < p.topK; j++) { pull += weights[t * p.topK + j] * dWeights[t * p.topK + j]; }
  var best = -3.0e38;
  var total = 0.0;
  if (p.normalise == 0u) {
    for (var e = 0u; e < p.experts; e++) { best = max(best, logits[t * p.experts + e]); }
    for (var e = 0u; e < p.experts; e++) { total += exp(logits[t * p.experts + e] - best); }
  }
  for (var e = 0u; e < p.experts; e++) {
    var value = 0.0;
    if (p.normalise == 0u) { value = -exp(logits[t * p.experts + e] - best) / total * pull; }
    dLogits[t * p.experts + e] = value;
  }
  for (var j = 0u; j < p.topK; j++) {
    let at = t * p.topK + j;
    let e = t * p.experts + u32(experts[at]);
    let own = weights[at] * dWeights[at];
    if (p.normalise == 0u) { dLogits[e] += own; } else { dLogits[e] = own - weights[at] * pull; }
  }
}`,
};

/** For `record`, with the input [logits] and the outputs [experts, weights]. */
export function routeBackward(
  logits: Tensor,
  experts: Tensor,
  weights: Tensor,
  normalise: boolean,
): (keep: Keep) => Backward {
  return (keep) => {
    const [logits_, experts_, weights_] = keep(logits, experts, weights);
    return ([, dWeights]) => {
      if (!dWeights) return [];
      const { device } = logits_;
      const [T = 0, E = 0] = logits_.shape;
      const topK = weights_.size / T;
      const dLogits = empty(device, [T, E]);
      const cost = { bytes: 2 * logits_.byteLength + 3 * weights_.byteLength, operations: T * E };
      const buffers = [logits_, experts_, weights_, dWeights, dLogits];
      if (device.kind === "cpu") {
        device.run("routeExpertsGradient", { arguments: [...buffers, E, topK, normalise], tasks: T, cost });
      } else {
        const groups = Math.ceil(T / 64);
        device.run(routeGradientKernel, {
          buffers,
          params: routeGradientParams.write({ tokens: T, experts: E, topK, normalise: Number(normalise) }),
          grid: [Math.min(groups, 65_535), Math.ceil(groups / 65_535)],
          cost,
        });
      }
      return [dLogits.handOver()];
    };
  };
}
