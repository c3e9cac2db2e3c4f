/** Group and layer normalisation on WebGPU, and their gradient: a workgroup a row. */
import { params } from "../../device/index.js";

export const groupNormParams = params({
  rows: "u32",
  groups: "u32",
  channels: "u32",
  places: "u32",
  eps: "f32",
});

// Sums over the workgroup; every lane gets them. The barrier in front lets `partial` be used again.
const head = (workgroup: number, element: string): string => /* wgsl */ `
${groupNormParams.wgsl}
const WORKGROUP = ${workgroup}u;
var<workgroup> partial: array<${element}, WORKGROUP>;
fn addWorkgroup(mine: ${element}, lane: u32) -> ${element} {
  workgroupBarrier();
  partial[lane] = mine;
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { partial[lane] += partial[lane + half]; }
  }
  workgroupBarrier();
  return partial[0];
}`;

const main = /* wgsl */ `
@compute @workgroup_size(WORKGROUP)   // rows are folded over the grid's x and y
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let r = group.y * groups.x + group.x;
  if (r >= p.rows) { return; }
  let length = p.channels * p.places;
  let row = r * length;
  let channel = r % p.groups * p.channels;`;

export const groupNormKernel = (workgroup: 64 | 256): string => /* wgsl */ `
${head(workgroup, "f32")}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;         // [rows, channels, places]
@group(0) @binding(2) var<storage, read> weight: array<f32>;    // [groups · channels]
@group(0) @binding(3) var<storage, read> bias: array<f32>;      // [groups · channels]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;   // as x
${main}
  var sum = 0.0;
  for (var i = lane; i < length; i += WORKGROUP) { sum += x[row + i]; }
  let mean = addWorkgroup(sum, lane) / f32(length);
  var squares = 0.0;
  for (var i = lane; i < length; i += WORKGROUP) { let d = x[row + i] - mean; squares += d * d; }
  let scale = inverseSqrt(addWorkgroup(squares, lane) / f32(length) + p.eps);
  for (var i = lane; i < length; i += WORKGROUP) {
    let c = channel + i / p.places;
    y[row + i] = (x[row + i] - mean) * scale * weight[c] + bias[c];
  }
}`;

export const groupNormGradientKernel = (workgroup: 64 | 256): string => /* wgsl */ `
${head(workgroup, "vec2f")}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;             // [rows, channels, places]
@group(0) @binding(2) var<storage, read> weight: array<f32>;        // [groups · channels]
@group(0) @binding(3) var<storage, read> dy: array<f32>;            // as x
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;      // as x
@group(0) @binding(5) var<storage, read_write> terms: array<f32>;   // as x: of the weight's gradient
${main}
  var sum = 0.0;
  for (var i = lane; i < length; i += WORKGROUP) { sum += x[row + i]; }
  let mean = addWorkgroup(vec2f(sum, 0.0), lane).x / f32(length);
  var squares = 0.0;
  for (var i = lane; i < length; i += WORKGROUP) { let d = x[row + i] - mean; squares += d * d; }
  let scale = inverseSqrt(addWorkgroup(vec2f(squares, 0.0), lane).x / f32(length) + p.eps);
  var pulls = vec2f(0.0);
  for (var i = lane; i < length; i += WORKGROUP) {
    let up = dy[row + i] * weight[channel + i / p.places];
    pulls += up * vec2f(1.0, (x[row + i] - mean) * scale);
  }
  pulls = addWorkgroup(pulls, lane) / f32(length);
  for (var i = lane; i < length; i += WORKGROUP) {
    let here = (x[row + i] - mean) * scale;
    let up = dy[row + i];
    dx[row + i] = (up * weight[channel + i / p.places] - pulls.x - here * pulls.y) * scale;
    terms[row + i] = up * here;
  }
}`;
