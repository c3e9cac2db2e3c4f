/**
 * The expert layer for many tokens: pairs (token, choice) are sorted by expert, and tiles of one expert's pairs multiplied.
 *
 *   group     ./group.wgsl.ts: order [T k], pairs by expert; starts [E + 1], first place of each expert
 *   map       tiles: (expert, first place) of each tile, expert = E where there is none
 *   tiles     the plain product's tile (../matmul/gemm.wgsl.ts) over places:
 *             gate: h[place] = SiLU(W1 x) · (W3 x) of the pair at the place;  down: y[pair] = W2 h[place]
 *   combine   out[t] = mix(Σ over choices of w · y[pair])
 *
 * The number of tiles is that of the worst routing; workgroups of missing tiles, and of experts that are not bound in a
 * launch, leave at once.
 */
import { params, type WebGpuKernel } from "../../device/index.js";
import { activationWgsl } from "../matmul/epilogue.wgsl.js";
import { gemmTile } from "../matmul/gemm.wgsl.js";
import { quadX, type XLoad } from "../matmul/matmul.wgsl.js";
import type { WeightKind } from "../matmul/weight-matrix.js";
import { hasScales, weightAccess, weightDecoding, weightParams } from "../matmul/weights/load.wgsl.js";
import { describeMix, type MixVariant, mixWgsl } from "./mix.wgsl.js";

export const mapParams = params({ experts: "u32", tile: "u32", tiles: "u32" });
export const MAP_WORKGROUP = 64;

export const mapKernel: WebGpuKernel = {
  label: "moe map",
  code: /* wgsl */ `
${mapParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> starts: array<u32>;             // [E + 1]
@group(0) @binding(2) var<storage, read_write> tiles: array<vec2u>;      // [tiles]

@compute @workgroup_size(${MAP_WORKGROUP})   // one lane per tile
fn main(@builtin(global_invocation_id) at: vec3u) {
  if (at.x >= p.tiles) { return; }
  var left = at.x;
  var found = vec2u(p.experts, 0u);
  for (var expert = 0u; expert < p.experts; expert++) {
    let count = (starts[expert + 1u] - starts[expert] + p.tile - 1u) / p.tile;
    if (left < count) {
      found = vec2u(expert, starts[expert] + left * p.tile);
      break;
    }
    left -= count;
  }
  tiles[at.x] = found;
}`,
};

export const expertTilesParams = params({
  ...weightParams,
  /** Columns of x (or h), and outputs of an expert: all of them are computed. */
  inputs: "u32",
  pieceOutputs: "u32",
  expertRows: "u32",
  /** What is bound, as in `expertParams`. */
  firstRow: "u32",
  firstExpert: "u32",
  pieceExperts: "u32",
  scaleRow: "u32",
  topK: "u32",
});

export interface ExpertTilesVariant {
  readonly kind: WeightKind;
  readonly x: XLoad;
  readonly does: "gate" | "down";
  readonly tile: 32 | 64;
}

export const expertTilesKernel = (v: ExpertTilesVariant): string => /* wgsl */ `
${expertTilesParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${quadX[v.x]}
@group(0) @binding(2) var<storage, read> order: array<u32>;      // [T k]
@group(0) @binding(3) var<storage, read> starts: array<u32>;     // [E + 1]
@group(0) @binding(4) var<storage, read> tiles: array<vec2u>;
${weightDecoding(v.kind)}
${weightAccess({ kind: v.kind, name: "W", codes: 5, scales: 6, scaleRow: "p.scaleRow" })}
@group(0) @binding(${hasScales(v.kind) ? 7 : 6}) var<storage, read_write> out: array<f32>;
${v.does === "gate" ? gateEnds : downEnds}
${gemmTile({ tile: v.tile, gate: v.does === "gate", enter: enterTile })}`;

// An expert below the bound ones wraps around to a large number; E is never bound.
const enterTile = /* wgsl */ `
  let expert = tiles[group.y].x;
  if (expert - p.firstExpert >= p.pieceExperts) { return; }
  let firstToken = tiles[group.y].y;
  let lastToken = min(firstToken + TILE, starts[expert + 1u]) - 1u;
  let firstRow = expert * p.expertRows - p.firstRow;
  let firstUpRow = firstRow + p.pieceOutputs;`;

const gateEnds = /* wgsl */ `
${activationWgsl.silu}
fn tokenX(first: u32, last: u32, line: u32) -> u32 { return order[min(first + line, last)] / p.topK; }
fn loadU8(row: u32, octet: u32) -> mat2x4f { return loadW8(row, octet); }
fn put(z: f32, up: f32, place: u32, output: u32) {
  if (output < p.pieceOutputs) { out[place * p.pieceOutputs + output] = activate(z) * up; }
}`;

const downEnds = /* wgsl */ `
fn tokenX(first: u32, last: u32, line: u32) -> u32 { return min(first + line, last); }
fn put(z: f32, up: f32, place: u32, output: u32) {
  if (output < p.pieceOutputs) { out[order[place] * p.pieceOutputs + output] = z; }
}`;

export function expertTilesLabel(v: ExpertTilesVariant): string {
  return `moe tiles ${v.does} ${v.kind} ${v.x} tile=${v.tile}`;
}

export const combineParams = params({ tokens: "u32", channels: "u32", topK: "u32", alpha: "f32", beta: "f32" });
const COMBINE_WORKGROUP = 64;
/** Channels of a workgroup. */
export const COMBINE_CHANNELS = 4 * COMBINE_WORKGROUP;

export const combineKernel = (mix: MixVariant): string => /* wgsl */ `
${combineParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> products: array<f32>;   // [T, k, H]
@group(0) @binding(2) var<storage, read> weights: array<f32>;    // [T, k]
${mixWgsl(mix, 3)}

fn sumOf(token: u32, channel: u32) -> f32 {
  var sum = 0.0;
  for (var pair = token * p.topK; pair < (token + 1u) * p.topK; pair++) {
    sum += weights[pair] * products[pair * p.channels + min(channel, p.channels - 1u)];
  }
  return sum;
}

// Four channels a thread, so that more loads are under way. x: channels; y: token; z: tokens beyond the grid's limit.
@compute @workgroup_size(${COMBINE_WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let token = group.z * groups.y + group.y;
  if (token >= p.tokens) { return; }
  let first = group.x * ${COMBINE_CHANNELS}u + lane;
${[0, 1, 2, 3].map((i) => `  let sum${i} = sumOf(token, first + ${i * COMBINE_WORKGROUP}u);`).join("\n")}
${[0, 1, 2, 3].map((i) => `  if (first + ${i * COMBINE_WORKGROUP}u < p.channels) { putMix(sum${i}, token, first + ${i * COMBINE_WORKGROUP}u); }`).join("\n")}
}`;

export function combineLabel(mix: MixVariant): string {
  return ["moe combine", describeMix(mix)].filter(Boolean).join(" ");
}
