/**
 * WebGPU kernels behind attention's sums: the parts of a decode step put together, the values' rotation undone, their mean added.
 * (A dead token's result stays zero.)
 */
import type { WebGpuKernel } from "../../device/webgpu/kernel.js";
import { params } from "../../device/webgpu/params.js";
import { partWidth } from "./lanes.js";
import { literal } from "./unpack.wgsl.js";

export interface FinishVariant {
  readonly headDim: number;
  /** Width of the Hadamard blocks on values; 0 none. */
  readonly rotation: number;
  /** A mean was taken off the values. */
  readonly mean: boolean;
}

export const combineParams = params({ results: "u32", parts: "u32", heads: "u32", perGroup: "u32" });

const COMBINE_THREADS = 256;

/**
 * Buffers: parts [part, T·H, PART], out [T·H, D], then the mean [G, D]. A workgroup each result.
 *
 * First the maximum, a thread each part; then, in chunks of as many parts, their weights, and thread (lane, c) adds up channels
 * 4·c … 4·c + 3 of parts lane, lane + LANES, …: loads that do not wait for each other. Parts are finite, empty ones too.
 */
export function combineKernel(v: FinishVariant): WebGpuKernel {
  const lanes = Math.floor(COMBINE_THREADS / (v.headDim / 4));
  return {
    label: `packed attention combine D=${v.headDim} rotation=${v.rotation}${v.mean ? " mean" : ""}`,
    code: /* wgsl */ `
const D4 = ${v.headDim / 4}u;
const D = ${v.headDim}u;
const LANES = ${lanes}u;
const THREADS = ${COMBINE_THREADS}u;
const PART4 = ${partWidth(v.headDim) / 4}u;
const NOTHING = -1e30;
${combineParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
${meanBinding(v, 3)}

var<workgroup> sums: array<vec4f, THREADS>;
var<workgroup> weights: array<f32, THREADS>;
var<workgroup> totals: array<f32, THREADS>;
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
  for (var i = thread; i < p.parts; i += THREADS) { best = max(best, parts[(i * p.results + result) * PART4 + D4].x); }
  weights[thread] = best;
  workgroupBarrier();
  for (var i = THREADS / 2u; i > 0u; i /= 2u) {
    if (thread < i) { weights[thread] = max(weights[thread], weights[thread + i]); }
    workgroupBarrier();
  }
  best = weights[0];
  workgroupBarrier();

  var total = 0.0;
  var acc = vec4f(0.0);
  for (var first = 0u; first < p.parts; first += THREADS) {
    let count = min(THREADS, p.parts - first);
    if (thread < count) {
      let part = parts[((first + thread) * p.results + result) * PART4 + D4];
      let weight = select(0.0, exp2(part.x - best), part.y > 0.0);   // an empty part has no maximum to compare
      weights[thread] = weight;
      total = fma(weight, part.y, total);
    }
    workgroupBarrier();
    if (lane < LANES) {
      let stride = p.results * PART4;
      var at = (first + lane) * stride + result * PART4 + c;
      var i = lane;
      for (; i + 3u * LANES < count; i += 4u * LANES) {
        let a0 = parts[at];
        let a1 = parts[at + LANES * stride];
        let a2 = parts[at + 2u * LANES * stride];
        let a3 = parts[at + 3u * LANES * stride];
        acc = fma(vec4f(weights[i]), a0, acc);
        acc = fma(vec4f(weights[i + LANES]), a1, acc);
        acc = fma(vec4f(weights[i + 2u * LANES]), a2, acc);
        acc = fma(vec4f(weights[i + 3u * LANES]), a3, acc);
        at += 4u * LANES * stride;
      }
      for (; i < count; i += LANES) {
        acc = fma(vec4f(weights[i]), parts[at], acc);
        at += LANES * stride;
      }
    }
    workgroupBarrier();
  }
  sums[thread] = acc;
  totals[thread] = total;
  workgroupBarrier();
  for (var i = THREADS / 2u; i > 0u; i /= 2u) {
    if (thread < i) { totals[thread] += totals[thread + i]; }
    workgroupBarrier();
  }
  if (thread < D4) {
    for (var i = 1u; i < LANES; i++) { acc += sums[i * D4 + thread]; }
    acc *= select(0.0, 1.0 / totals[0], totals[0] > 0.0);
    for (var i = 0u; i < 4u; i++) { x[thread * 4u + i] = acc[i]; }
  }
  workgroupBarrier();
${rotateText(v)}
${storeText(v, "totals[0] > 0.0")}
}`,
  };
}

export const unrotateParams = params({ results: "u32", heads: "u32", perGroup: "u32" });

/** Buffers: out [T·H, D], in place, then the mean [G, D] and the step's tokens. A workgroup each result. */
export function unrotateKernel(v: FinishVariant): WebGpuKernel {
  return {
    label: `packed attention unrotate D=${v.headDim} rotation=${v.rotation}${v.mean ? " mean" : ""}`,
    code: /* wgsl */ `
const D = ${v.headDim}u;
const THREADS = 128u;
${unrotateParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
${meanBinding(v, 2)}
${v.mean ? "@group(0) @binding(3) var<storage, read> tokens: array<vec4i>;        // id, position, row, slot" : ""}

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
${storeText(v, "tokens[result / p.heads].w >= 0")}
}`,
  };
}

function meanBinding({ mean }: FinishVariant, binding: number): string {
  return mean ? `@group(0) @binding(${binding}) var<storage, read> mean: array<f32>;          // [G, D]` : "";
}

/** Stores x, with the mean where the token lives. */
function storeText({ mean }: FinishVariant, isAlive: string): string {
  if (!mean) return "  for (var i = thread; i < D; i += THREADS) { out[result * D + i] = x[i]; }";
  return /* wgsl */ `
  let first = result % p.heads / p.perGroup * D;
  let weight = select(0.0, 1.0, ${isAlive});
  for (var i = thread; i < D; i += THREADS) { out[result * D + i] = fma(weight, mean[first + i], x[i]); }`;
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
