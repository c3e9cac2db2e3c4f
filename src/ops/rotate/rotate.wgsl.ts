/** Rotary embedding into a new tensor on WebGPU: a thread an element, or four where the sizes allow. */
import { params, type WebGpuKernel } from "../../device/index.js";
import { LOW_POSITIONS } from "../rope/rope.js";

/** Sizes in elements, or vectors of four where the variant has them. */
export const rotateParams = params({
  elements: "u32",
  /** Heads of a token: q, k and v. */
  columns: "u32",
  /** The first ones are rotated. */
  turnedHeads: "u32",
  headDim: "u32",
  rotaryDim: "u32",
  highLines: "u32",
  direction: "f32",
});

export const rotateKernel = (vectors: boolean): WebGpuKernel => ({
  label: `rotate${vectors ? " vectors" : ""}`,
  code: /* wgsl */ `
alias Element = ${vectors ? "vec4f" : "f32"};
${rotateParams.wgsl}
const LOW = ${LOW_POSITIONS}u;
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;          // [T, heads, D]
@group(0) @binding(2) var<storage, read> tokens: array<vec4i>;   // id, position, row, slot
@group(0) @binding(3) var<storage, read> table: array<Element>;      // [LOW + highLines, rotaryDim]
@group(0) @binding(4) var<storage, read_write> y: array<Element>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * 64u + lane;
  if (i >= p.elements) { return; }
  let channel = i % p.headDim;
  let head = i / p.headDim % p.columns;
  if (head >= p.turnedHeads || channel >= p.rotaryDim) {
    y[i] = x[i];
    return;
  }
  let position = u32(tokens[i / p.headDim / p.columns].y);
  let half = p.rotaryDim / 2u;
  let pair = channel % half;
  let low = position % LOW * p.rotaryDim + pair;
  let high = (LOW + min(position / LOW, p.highLines - 1u)) * p.rotaryDim + pair;
  let cosine = table[low] * table[high] - table[low + half] * table[high + half];
  let sine = p.direction * (table[low + half] * table[high] + table[low] * table[high + half]);
  if (channel < half) {
    y[i] = x[i] * cosine - x[i + half] * sine;
  } else {
    y[i] = x[i] * cosine + x[i - half] * sine;
  }
}`,
});
