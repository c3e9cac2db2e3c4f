/** WebGPU kernels behind attention's sums: the parts of a decode step put together, and the values' rotation undone. */
import type { WebGpuKernel } from "../../device/webgpu/kernel.js";
import { params } from "../../device/webgpu/params.js";
import { partWidth } from "./decode.wgsl.js";
import { literal } from "./unpack.wgsl.js";

export interface FinishVariant {
  readonly headDim: number;
  /** Width of the Hadamard blocks on values; 0 none. */
  readonly rotation: number;
}

export const combineParams = params({ results: "u32", parts: "u32" });

/**
 * Buffers: parts [part, T·H, PART], out [T·H, D]. A workgroup each result.
 *
 * Thread (lane, c) adds up channels 4·c … 4·c + 3 of parts lane, lane + LANES, …, with a maximum of its own; the lanes meet at
 * the end.
 */
export function combineKernel(v: FinishVariant): WebGpuKernel {
  const lanes = Math.floor(128 / (v.headDim / 4));
  return {
    label: `packed attention combine D=${v.headDim} rotation=${v.rotation}`,
    code: /* wgsl */ `
const D4 = ${v.headDim / 4}u;
const D = ${v.headDim}u;
const LANES = ${lanes}u;
const THREADS = 128u;
const PART4 = ${partWidth(v.headDim) / 4}u;
const NOTHING = -1e30;
${combineParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

var<workgroup> sums: array<vec4f, THREADS>;
var<workgroup> stats: array<vec2f, THREADS>;
var<workgroup> x: array<f32, D>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let result = workgroup.x + workgroup.y * workgroups.x;
  if (result >= p.results) { return; }
  let lane = thread / D4;
  let c = thread % D4;
  var best = NOTHING;
  var total = 0.0;
  var acc = vec4f(0.0);
  if (lane < LANES) {
    for (var i = lane; i < p.parts; i += LANES) {
      let at = (i * p.results + result) * PART4;
      let part = parts[at + D4];
      if (part.y > 0.0) {           // an empty part has no maximum to compare
        let next = max(best, part.x);
        let shrink = exp2(best - next);
        let weight = exp2(part.x - next);
        best = next;
        total = fma(total, shrink, weight * part.y);
        acc = fma(acc, vec4f(shrink), weight * parts[at + c]);
      }
    }
  }
  sums[thread] = acc;
  stats[thread] = vec2f(best, total);
  workgroupBarrier();
  if (thread < D4) {
    var joint = NOTHING;
    for (var i = 0u; i < LANES; i++) { joint = max(joint, stats[i * D4].x); }
    total = 0.0;
    acc = vec4f(0.0);
    for (var i = 0u; i < LANES; i++) {
      let stat = stats[i * D4];
      let weight = select(0.0, exp2(stat.x - joint), stat.y > 0.0);
      total = fma(weight, stat.y, total);
      acc = fma(vec4f(weight), sums[i * D4 + thread], acc);
    }
    acc *= select(0.0, 1.0 / total, total > 0.0);
    for (var i = 0u; i < 4u; i++) { x[thread * 4u + i] = acc[i]; }
  }
  workgroupBarrier();
${rotateText(v)}
  for (var i = thread; i < D; i += THREADS) { out[result * D + i] = x[i]; }
}`,
  };
}

export const unrotateParams = params({ results: "u32" });

/** Buffers: out [T·H, D], in place. A workgroup each result. */
export function unrotateKernel(v: FinishVariant): WebGpuKernel {
  return {
    label: `packed attention unrotate D=${v.headDim} rotation=${v.rotation}`,
    code: /* wgsl */ `
const D = ${v.headDim}u;
const THREADS = 128u;
${unrotateParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

var<workgroup> x: array<f32, D>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let result = workgroup.x + workgroup.y * workgroups.x;
  if (result >= p.results) { return; }
  for (var i = thread; i < D; i += THREADS) { x[i] = out[result * D + i]; }
  workgroupBarrier();
${rotateText(v)}
  for (var i = thread; i < D; i += THREADS) { out[result * D + i] = x[i]; }
}`,
  };
}

/** The Hadamard transform of blocks of x, a pair a thread; it is its own inverse. */
function rotateText({ rotation }: FinishVariant): string {
  if (rotation < 2) return "";
  return /* wgsl */ `
  for (var h = 1u; h < ${rotation}u; h *= 2u) {
    let i = thread / h * (2u * h) + thread % h;
    if (thread < D / 2u) {
      let a = x[i];
      let b = x[i + h];
      x[i] = a + b;
      x[i + h] = a - b;
    }
    workgroupBarrier();
  }
  if (thread < D / 2u) {
    x[thread] *= ${literal(1 / Math.sqrt(rotation))};
    x[thread + D / 2u] *= ${literal(1 / Math.sqrt(rotation))};
  }
  workgroupBarrier();`;
}
