/** The gradient of RMS normalisation on WebGPU: a workgroup a token, two sums over its channels. */
import { params, type WebGpuKernel } from "../../device/index.js";

export const rmsNormGradientParams = params({ channels: "u32", tokens: "u32", eps: "f32" });

export const rmsNormGradientKernel: WebGpuKernel = {
  label: "rms-norm gradient",
  code: /* wgsl */ `
${rmsNormGradientParams.wgsl}
const WORKGROUP = 64u;
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;            // [T, C]
@group(0) @binding(2) var<storage, read> weight: array<f32>;       // [C]
@group(0) @binding(3) var<storage, read> dy: array<f32>;           // [T, C]
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;     // [T, C]
@group(0) @binding(5) var<storage, read_write> terms: array<f32>;  // [T, C]: of the weight's gradient
var<workgroup> partial: array<vec2f, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)   // tokens are folded over the grid's x and y
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let token = group.y * groups.x + group.x;
  if (token >= p.tokens) { return; }
  let row = token * p.channels;
  var mine = vec2f(0.0);
  for (var i = lane; i < p.channels; i += WORKGROUP) {
    let here = x[row + i];
    mine += vec2f(here * here, here * dy[row + i] * weight[i]);
  }
  partial[lane] = mine;
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { partial[lane] += partial[lane + half]; }
  }
  workgroupBarrier();
  let q = inverseSqrt(partial[0].x / f32(p.channels) + p.eps);
  let pull = q * q * q * partial[0].y / f32(p.channels);
  for (var i = lane; i < p.channels; i += WORKGROUP) {
    let here = x[row + i];
    let up = dy[row + i];
    dx[row + i] = q * up * weight[i] - here * pull;
    terms[row + i] = up * here * q;
  }
}`,
};
