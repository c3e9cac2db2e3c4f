/** WebGPU kernel that joins the parts of a context that was shared out. */
import type { WebGpuKernel } from "../../device/webgpu/kernel.js";
import { params } from "../../device/webgpu/params.js";

export interface CombineVariant {
  /** Threads that share the parts of a result; a workgroup takes a few vec4 of it. */
  readonly lanes: 4 | 32;
}

export const combineParams = params({ results: "u32", parts: "u32", headDim4: "u32" });

/** Vec4 of a result that a workgroup takes: neighbours in memory, 128 bytes at least. */
export const combineQuads = (v: CombineVariant): number => (v.lanes === 4 ? 16 : 8);

/**
 * Buffers: parts [part, T·H, D], not divided by their sums; stats [part, T·H] (maximum, sum; a sum of 0: the part is empty,
 * whatever `parts` holds); out [T·H, D]. Grid: x, y: workgroups, a result's vec4 first.
 *
 * A lane joins every LANES-th part with a running maximum; the lanes meet once.
 */
export function combineKernel(v: CombineVariant): WebGpuKernel {
  return {
    label: `attention combine lanes=${v.lanes}`,
    code: /* wgsl */ `
const LANES = ${v.lanes}u;
const QUADS = ${combineQuads(v)}u;
const NOTHING = -1e30;
${combineParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec4f>;
@group(0) @binding(2) var<storage, read> stats: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

var<workgroup> laneStats: array<vec2f, LANES>;
var<workgroup> lanes: array<vec4f, LANES * QUADS>;

@compute @workgroup_size(LANES * QUADS)
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32,
) {
  let slices = (p.headDim4 + QUADS - 1u) / QUADS;
  let index = group.x + group.y * groups.x;
  let result = index / slices;
  if (result >= p.results) { return; }
  let lane = thread / QUADS;
  let c = index % slices * QUADS + thread % QUADS;
  let isInside = c < p.headDim4;
  var best = NOTHING;
  var total = 0.0;
  var acc = vec4f(0.0);
  // Four at a time, so that their loads are under way together.
  for (var i = lane; i < p.parts; i += 4u * LANES) {
    var part: array<vec2f, 4>;
    var value: array<vec4f, 4>;
    for (var n = 0u; n < 4u; n++) {
      let at = min(i + n * LANES, p.parts - 1u) * p.results + result;
      part[n] = select(vec2f(NOTHING, 0.0), stats[at], i + n * LANES < p.parts);
      value[n] = parts[at * p.headDim4 + min(c, p.headDim4 - 1u)];
    }
    var next = best;
    for (var n = 0u; n < 4u; n++) { next = select(next, max(next, part[n].x), part[n].y > 0.0); }
    let shrink = exp(best - next);
    best = next;
    total *= shrink;
    acc *= shrink;
    for (var n = 0u; n < 4u; n++) {
      if (part[n].y > 0.0) {
        let weight = exp(part[n].x - best);
        total += weight * part[n].y;
        acc += weight * value[n];
      }
    }
  }
  lanes[thread] = acc;
  if (thread % QUADS == 0u) { laneStats[lane] = vec2f(best, total); }
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      // The partner's sums, brought to a joint maximum. Its line is written by nobody in this round.
      let other = laneStats[lane + half];
      let joint = max(best, other.x);
      let own = exp(best - joint);
      let its = exp(other.x - joint);
      best = joint;
      total = own * total + its * other.y;
      acc = own * acc + its * lanes[thread + half * QUADS];
      lanes[thread] = acc;
      if (thread % QUADS == 0u) { laneStats[lane] = vec2f(best, total); }
    }
  }
  if (lane > 0u || !isInside) { return; }
  out[result * p.headDim4 + c] = acc * select(0.0, 1.0 / total, total > 0.0);
}`,
  };
}
