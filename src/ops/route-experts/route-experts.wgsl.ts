/**
 * Routing on WebGPU: a workgroup for each token.
 *
 * An expert's rank is the number of experts before it, which each lane counts for itself: two barriers whatever k, where a
 * search for one maximum after the other would need several for each.
 */
import { params, type WebGpuKernel } from "../../device/index.js";

/** Logits of a token are kept in workgroup memory. */
export const MAX_EXPERTS = 1024;

export const routeExpertsParams = params({ tokens: "u32", experts: "u32", topK: "u32", normalise: "u32" });

/**
 * Routing of one token by the whole workgroup: ranks the experts, then gives each choice to one thread's
 * `putRoute(at: u32, expert: u32, weight: f32)`, at = token · k + choice. Wants WORKGROUP threads, the parameters above, and in
 * workgroup memory `logits` [E] and `chosen` [E] with chosen[e] = e, so that a NaN, which has no rank, leaves an expert in its
 * place. Begins with a barrier; behind it `chosen` holds the choices in its first k places.
 */
export const routeTokenWgsl = /* wgsl */ `
fn routeToken(token: u32, thread: u32) {
  workgroupBarrier();
  for (var e = thread; e < p.experts; e += WORKGROUP) {
    let own = logits[e];
    var rank = 0u;
    for (var other = 0u; other < p.experts; other++) {
      rank += u32(logits[other] > own || (logits[other] == own && other < e));
    }
    if (rank < p.topK) { chosen[rank] = e; }
  }
  workgroupBarrier();
  let largest = logits[chosen[0]];
  var sum = 0.0;
  if (p.normalise == 1u) {
    for (var j = 0u; j < p.topK; j++) { sum += exp(logits[chosen[j]] - largest); }
  } else {
    for (var e = 0u; e < p.experts; e++) { sum += exp(logits[e] - largest); }
  }
  for (var j = thread; j < p.topK; j += WORKGROUP) {
    putRoute(token * p.topK + j, chosen[j], exp(logits[chosen[j]] - largest) / sum);
  }
}`;

/** `putRoute` into the bindings `experts` and `weights`. */
export const storeRouteWgsl = /* wgsl */ `
fn putRoute(at: u32, expert: u32, weight: f32) {
  experts[at] = expert;
  weights[at] = weight;
}`;

const code = /* wgsl */ `
${routeExpertsParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> routed: array<f32>;           // [T, E]
@group(0) @binding(2) var<storage, read_write> experts: array<u32>;    // [T, k]
@group(0) @binding(3) var<storage, read_write> weights: array<f32>;    // [T, k]
const WORKGROUP = 64u;
const MAX_EXPERTS = ${MAX_EXPERTS}u;
var<workgroup> logits: array<f32, MAX_EXPERTS>;
var<workgroup> chosen: array<u32, MAX_EXPERTS>;
${storeRouteWgsl}
${routeTokenWgsl}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let token = group.y * groups.x + group.x;
  if (token >= p.tokens) { return; }
  for (var e = lane; e < p.experts; e += WORKGROUP) {
    logits[e] = routed[token * p.experts + e];
    chosen[e] = e;
  }
  routeToken(token, lane);
}`;

export const routeExpertsKernel: WebGpuKernel = { label: "route-experts", code };

export function routeExpertsVariants(): WebGpuKernel[] {
  return [routeExpertsKernel];
}
