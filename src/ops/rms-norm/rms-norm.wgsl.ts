/**
 * RMS normalisation on WebGPU: a workgroup normalises one token.
 *
 * The lanes add squares, the workgroup adds the lanes' sums (by subgroups first, where there are any), and each lane scales
 * the channels that it has read.
 */
import { params } from "../../device/index.js";

export interface RmsNormVariant {
  readonly workgroup: 64 | 256;
  /** C is a multiple of 4. */
  readonly vectors: boolean;
  readonly subgroups: boolean;
}

export const rmsNormParams = params({
  /** Elements of a row: vectors of four where the variant has them. */
  elements: "u32",
  channels: "u32",
  tokens: "u32",
  eps: "f32",
});

const bySubgroups = /* wgsl */ `
struct Lanes {
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_size) size: u32,
  @builtin(subgroup_invocation_id) inSubgroup: u32,
  @builtin(subgroup_id) subgroup: u32,
}
// Subgroups have at least 4 lanes.
var<workgroup> partial: array<f32, WORKGROUP / 4u>;
fn addWorkgroup(mine: f32, lanes: Lanes) -> f32 {
  let ours = subgroupAdd(mine);
  if (lanes.inSubgroup == 0u) { partial[lanes.subgroup] = ours; }
  workgroupBarrier();
  var sum = 0.0;
  for (var i = 0u; i < WORKGROUP / lanes.size; i++) { sum += partial[i]; }
  return sum;
}`;

const byTree = /* wgsl */ `
struct Lanes {
  @builtin(local_invocation_index) index: u32,
}
var<workgroup> partial: array<f32, WORKGROUP>;
fn addWorkgroup(mine: f32, lanes: Lanes) -> f32 {
  partial[lanes.index] = mine;
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lanes.index < half) { partial[lanes.index] += partial[lanes.index + half]; }
  }
  workgroupBarrier();
  return partial[0];
}`;

const squareOfVector = /* wgsl */ `fn square(value: vec4f) -> f32 { return dot(value, value); }`;
const squareOfNumber = /* wgsl */ `fn square(value: f32) -> f32 { return value * value; }`;

export const rmsNormKernel = (v: RmsNormVariant): string => /* wgsl */ `
${v.subgroups ? "enable subgroups;" : ""}
${rmsNormParams.wgsl}
const WORKGROUP = ${v.workgroup}u;
alias Element = ${v.vectors ? "vec4f" : "f32"};
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;         // [T, C]
@group(0) @binding(2) var<storage, read> weight: array<Element>;    // [C]
@group(0) @binding(3) var<storage, read_write> y: array<Element>;   // [T, C]
${v.vectors ? squareOfVector : squareOfNumber}
${v.subgroups ? bySubgroups : byTree}

@compute @workgroup_size(WORKGROUP)   // tokens are folded over the grid's x and y
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, lanes: Lanes) {
  let token = group.y * groups.x + group.x;
  if (token >= p.tokens) { return; }
  let row = token * p.elements;
  var sum = 0.0;
  for (var i = lanes.index; i < p.elements; i += WORKGROUP) { sum += square(x[row + i]); }
  let scale = inverseSqrt(addWorkgroup(sum, lanes) / f32(p.channels) + p.eps);
  for (var i = lanes.index; i < p.elements; i += WORKGROUP) { y[row + i] = x[row + i] * scale * weight[i]; }
}`;

export function rmsNormLabel(v: RmsNormVariant): string {
  return `rms-norm wg=${v.workgroup}${v.vectors ? " vectors" : ""}${v.subgroups ? " subgroups" : ""}`;
}

const both = [true, false] as const;

export const rmsNormVariants = (): RmsNormVariant[] =>
  ([64, 256] as const).flatMap((workgroup) =>
    both.flatMap((vectors) => both.map((subgroups) => ({ workgroup, vectors, subgroups }))),
  );
