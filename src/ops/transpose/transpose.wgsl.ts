/** The transpose on WebGPU: tiles of 16 × 16 through workgroup memory, so that reads and writes are both of whole lines. */
import { params } from "../../device/index.js";

export const TILE = 16;

export const transposeParams = params({
  rows: "u32",
  columns: "u32",
  stride: "u32",
  rowsOut: "u32",
  columnsOut: "u32",
});

export const transposeKernel = /* wgsl */ `
${transposeParams.wgsl}
const TILE = ${TILE}u;
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;         // [rows, stride]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;   // [rowsOut, columnsOut]
var<workgroup> tile: array<f32, TILE * (TILE + 1u)>;            // one more a line: columns hit different banks

@compute @workgroup_size(TILE, TILE)   // of the result's tiles
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) lane: vec3u) {
  let row = group.x * TILE + lane.y;      // of x
  let column = group.y * TILE + lane.x;
  var value = 0.0;
  if (row < p.rows && column < p.columns) { value = x[row * p.stride + column]; }
  tile[lane.y * (TILE + 1u) + lane.x] = value;
  workgroupBarrier();
  let rowOut = group.y * TILE + lane.y;
  let columnOut = group.x * TILE + lane.x;
  if (rowOut < p.rowsOut && columnOut < p.columnsOut) {
    y[rowOut * p.columnsOut + columnOut] = tile[lane.x * (TILE + 1u) + lane.y];
  }
}`;
