/**
 * The gradient of lightning attention within chunks on matrix units (formulas and buffers: lightning-attention.gradient.wgsl.ts;
 * tiles: ../causal-attention/tile-matrices.wgsl.ts). A head is one slice.
 *
 * Precision q, k, v, dO, scores, and the states and their gradients as operands, are rounded to f16; sums are float32. A state may
 *           grow beyond f16, its gradient be smaller: each is divided by a power of two near its largest number first, and its
 *           product multiplied by that.
 */
import type { WebGpuKernel } from "../../device/index.js";
import {
  add,
  addOwned,
  declareResults,
  dots,
  matrixEnables,
  matrixTileConstants,
  matrixTileEntry,
  matrixTileSetup,
  type Octet,
  owned,
  quads,
  readSums,
  stage,
  storeResults,
  writeHalves,
} from "../causal-attention/tile-matrices.wgsl.js";
import { range, TILE_THREADS, tilePlace } from "../causal-attention/tile-products.wgsl.js";
import type { GradientPass } from "./lightning-attention.gradient.wgsl.js";
import { lightningParams } from "./lightning-attention.wgsl.js";

export function lightningGradientMatrixKernel(pass: GradientPass, headDim: number): WebGpuKernel {
  const fragments = headDim / 16;
  return {
    label: `lightning gradient ${pass} D=${headDim} matrix`,
    code: /* wgsl */ `${matrixEnables}
${lightningParams.wgsl}
${matrixTileConstants(headDim)}
const D = ${headDim}u;
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4i>;         // first token, count, slot, past
@group(0) @binding(2) var<storage, read> decay: array<f32>;          // [H]
@group(0) @binding(3) var<storage, read> qkv: array<vec4f>;          // [T, H, 3, D]
@group(0) @binding(4) var<storage, read> dOut: array<vec4f>;         // [T, H, D]
@group(0) @binding(5) var<storage, read> states: array<vec4f>;       // [chunk, H, D, D]
@group(0) @binding(6) var<storage, read_write> dQkv: array<vec4f>;   // [T, H, 3, D]
var<workgroup> largest: array<f32, 4>;
${tilePlace}
// An octet of q (part 0), k or v of the chunk's token t, times a factor.
fn octetOf(line: u32, t: u32, c: u32, part: u32, m: u32, factor: f32) -> vec4u {
  let at = ((line + min(t, m - 1u) * p.heads) * 3u + part) * D4 + 2u * c;
  return select(vec4u(), halves(factor * qkv[at], factor * qkv[at + 1u]), t < m);
}
fn upOf(line: u32, t: u32, c: u32, m: u32, factor: f32) -> vec4u {
  let at = (line + min(t, m - 1u) * p.heads) * D4 + 2u * c;
  return select(vec4u(), halves(factor * dOut[at], factor * dOut[at + 1u]), t < m);
}
fn stateOf(line: u32, row: u32, c: u32, factor: f32) -> vec4u {
  let at = (line + min(row, D - 1u)) * D4 + 2u * c;
  return select(vec4u(), halves(factor * states[at], factor * states[at + 1u]), row < D);
}

${matrixTileEntry}
  let head = group.x;
  let chunk = group.y + group.z * 65535u;
  let place = tilePlace(chunk, p.rows);
  if (place.x >= p.rows) { return; }
  let row = rows[place.x];
  let m = min(TILE, u32(row.y) - place.y);
  let count = m;
  let line = (u32(row.x) + place.y) * p.heads + head;     // of dOut; of qkv three times that, q, k, v side by side
${matrixTileSetup}
${(pass === "queries" ? ["dq"] : ["dk", "dv"]).map((name) => declareResults(name, fragments)).join("\n")}
  if (row.z >= 0) {
    let slope = decay[head];
    let stateLine = (chunk * p.heads + head) * D;
${largestState(headDim)}
${pass === "queries" ? queries(fragments) : keys(fragments)}
  }
${
  pass === "queries"
    ? storeResults("dq", fragments, stored(0))
    : `${storeResults("dk", fragments, stored(1))}\n${storeResults("dv", fragments, stored(2))}`
}
}`,
  };
}

const stored = (part: number) => (quad: string, value: string) =>
  `dQkv[((line + mine * p.heads) * 3u + ${part}u) * D4 + ${quad}] = ${value};`;

/** \`unit\`: the power of two above the largest number of the state; \`perUnit\` its inverse. */
function largestState(headDim: number): string {
  const loads = range(Math.ceil(headDim ** 2 / 4 / TILE_THREADS));
  return `
    var top = vec4f();
${loads.map((e) => `    top = max(top, abs(states[stateLine * D4 + min(thread + ${e * TILE_THREADS}u, D * D4 - 1u)]));`).join("\n")}
    let most = subgroupMax(max(max(top.x, top.y), max(top.z, top.w)));
    if (lane == 0u) { largest[subgroup] = most; }
    workgroupBarrier();
    let size = clamp(max(max(largest[0], largest[1]), max(largest[2], largest[3])), 1e-30, 1e30);
    let exponent = ceil(log2(size));
    let unit = exp2(exponent);
    let perUnit = exp2(-exponent);`;
}

const qkv =
  (part: number): Octet =>
  (t, c) =>
    `octetOf(line, ${t}, ${c}, ${part}u, m, 1.0)`;
const up: Octet = (t, c) => `upOf(line, ${t}, ${c}, m, 1.0)`;
const state: Octet = (row, c) => `stateOf(stateLine, ${row}, ${c}, perUnit)`;

const timesUnit = (results: string, fragments: number): string =>
  range(fragments)
    .map((n) => `    ${results}${n} = subgroupMatrixScalarMultiply(${results}${n}, unit);`)
    .join("\n");

/** Sums of the strip, times λ to the distance between the lane's row and the columns, or the other way; halves. */
function decayed(name: string, isForward: boolean): string {
  return `${readSums(name)}
${quads((i, quad) => {
  const column = `(vec4i(i32(4u * ${quad})) + vec4i(0, 1, 2, 3))`;
  const distance = isForward ? `vec4i(i32(mine)) - ${column}` : `${column} - vec4i(i32(mine))`;
  return `    {
      let distance = ${distance};
      ${name}${i} *= select(vec4f(), exp(-slope * vec4f(max(distance, vec4i()))), distance >= vec4i());
    }`;
})}
${writeHalves(name)}`;
}

function queries(fragments: number): string {
  return `
${stage(fragments, (t, c) => `upOf(line, ${t}, ${c}, m, exp(-slope * f32(${t} + 1u)))`, up)}
    workgroupBarrier();
${owned("far", 0, fragments)}
${owned("up", 1, fragments)}
    workgroupBarrier();
${stage(fragments, state, qkv(2))}
    workgroupBarrier();
${addOwned("dq", "far", 0, "lines", fragments)}
${timesUnit("dq", fragments)}
${dots("up", 1, fragments)}
${stage(fragments, qkv(1))}
${decayed("w", true)}
${add("dq", 0, fragments)}`;
}

function keys(fragments: number): string {
  const far =
    (part: number): Octet =>
    (t, c) =>
      `octetOf(line, ${t}, ${c}, ${part}u, m, exp(-slope * f32(max(m, ${t} + 1u) - 1u - ${t})))`;
  return `
${stage(fragments, far(1), far(2))}
    workgroupBarrier();
    {
${owned("farK", 0, fragments)}
${owned("farV", 1, fragments)}
    workgroupBarrier();
${stage(fragments, state)}
    workgroupBarrier();
${addOwned("dk", "farV", 0, "lines", fragments)}
${addOwned("dv", "farK", 0, "terms", fragments)}
${timesUnit("dk", fragments)}
${timesUnit("dv", fragments)}
    }
    workgroupBarrier();
${stage(fragments, qkv(1), qkv(2))}
    workgroupBarrier();
${owned("k", 0, fragments)}
${owned("v", 1, fragments)}
    workgroupBarrier();
${stage(fragments, qkv(0), up)}
    workgroupBarrier();
${dots("k", 0, fragments)}
${decayed("s", false)}
${add("dv", 1, fragments)}
${dots("v", 1, fragments)}
${decayed("w", false)}
${add("dk", 0, fragments)}`;
}
