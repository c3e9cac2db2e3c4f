/** The last token of each row on WebGPU: one thread copies one channel. */
import { params, type WebGpuKernel } from "../../device/index.js";
import { rowWgsl } from "../step/layout.wgsl.js";

export const GATHER_WORKGROUP = 64;

export const gatherRowsParams = params({ channels: "u32", tokens: "u32", rows: "u32" });

export const gatherRowsKernel: WebGpuKernel = {
  label: "gather last tokens",
  code: /* wgsl */ `
${gatherRowsParams.wgsl}
${rowWgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;         // [T, C]
@group(0) @binding(2) var<storage, read> rows: array<i32>;      // [R, ROW_WORDS]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;   // [R, C]

@compute @workgroup_size(${GATHER_WORKGROUP})   // x: channel; y: row; z: rows beyond the grid's limit
fn main(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = at.z * groups.y + at.y;
  if (row >= p.rows || at.x >= p.channels) { return; }
  let count = rows[row * ROW_WORDS + ROW_tokenCount];
  let token = rows[row * ROW_WORDS + ROW_firstToken] + count - 1;
  var value = 0.0;
  if (count >= 1 && u32(token) < p.tokens) { value = x[u32(token) * p.channels + at.x]; } // a negative token wraps around
  y[row * p.channels + at.x] = value;
}`,
};

export function gatherRowsVariants(): WebGpuKernel[] {
  return [gatherRowsKernel];
}
