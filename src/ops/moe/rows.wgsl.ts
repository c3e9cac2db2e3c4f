/**
 * The expert layer for few tokens: one-row products of each (token, choice) pair with the chosen expert.
 *
 * As in the plain product (../matmul/gemv.wgsl.ts) a unit, a subgroup or a workgroup, computes ROWS neighbouring outputs,
 * its lanes walking along K; here of one *target*, which is a pair, or a token whose choices it adds up.
 *
 *   gate    h[pair, i] = SiLU(W1 x) · (W3 x)
 *   store   y[pair, c] = W2 h                                where the experts come in several pieces
 *   sum     out[t, c]  = mix(Σ over choices of w · (W2 h))
 *
 * Pieces    Codes are bound from row `firstRow`; pairs of experts that are not bound are left out (by `gate` and `store`).
 */
import { params } from "../../device/index.js";
import { activationWgsl } from "../matmul/epilogue.wgsl.js";
import { gemvThreads, subgroupUnits, workgroupUnits } from "../matmul/gemv.wgsl.js";
import { quadX, type XLoad } from "../matmul/matmul.wgsl.js";
import type { WeightKind } from "../matmul/weight-matrix.js";
import { hasScales, weightAccess, weightDecoding, weightParams } from "../matmul/weights/load.wgsl.js";
import { describeMix, type MixVariant, mixBindings, mixWgsl } from "./mix.wgsl.js";

export const expertParams = params({
  ...weightParams,
  /** Columns of x (or h), and outputs of an expert. */
  inputs: "u32",
  outputs: "u32",
  /** Rows of an expert. */
  expertRows: "u32",
  /** What is bound: row 0 of the codes, the first expert, the number of experts; the row of scales of row 0 of the codes. */
  firstRow: "u32",
  firstExpert: "u32",
  pieceExperts: "u32",
  scaleRow: "u32",
  /** Pairs that a target adds up, and pairs that share a row of x. */
  choices: "u32",
  pairsPerX: "u32",
  /** Outputs of a workgroup, and rounds that it takes. */
  groupOutputs: "u32",
  rounds: "u32",
  /** Of the mix. */
  channels: "u32",
  alpha: "f32",
  beta: "f32",
});

export type ExpertRows = "gate" | "store" | "sum";

export interface ExpertRowsVariant {
  readonly kind: WeightKind;
  readonly x: XLoad;
  readonly does: ExpertRows;
  /** Of `sum`. */
  readonly mix?: MixVariant;
  readonly subgroups: boolean;
}

/** Outputs of a unit at a time. */
export function expertUnitRows(does: ExpertRows): 1 | 2 {
  return does === "gate" ? 1 : 2;
}

/** Storage buffers of a launch. */
export function expertRowsBindings({ kind, does, mix }: Pick<ExpertRowsVariant, "kind" | "does" | "mix">): number {
  // x, experts, codes, result
  return 4 + (hasScales(kind) ? 1 : 0) + (does === "sum" ? 1 : 0) + (mix ? mixBindings(mix) : 0);
}

export const expertRowsKernel = (v: ExpertRowsVariant): string => {
  const afterWeights = hasScales(v.kind) ? 5 : 4;
  const rows = expertUnitRows(v.does);
  return /* wgsl */ `
${v.subgroups ? "enable subgroups;" : ""}
${expertParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${quadX[v.x]}
@group(0) @binding(2) var<storage, read> experts: array<u32>;              // [T, k]
${weightDecoding(v.kind)}
${weightAccess({ kind: v.kind, name: "W", codes: 3, scales: 4, scaleRow: "p.scaleRow" })}
const WORKGROUP = ${v.subgroups ? gemvThreads.subgroups : gemvThreads.plain}u;
const ROWS = ${rows}u;                              // outputs of a unit
const SUMS = ${v.does === "gate" ? 2 * rows : rows}u;                              // rows of codes that they need
${v.subgroups ? subgroupUnits : workgroupUnits}
${ends[v.does](afterWeights, v.mix ?? noMix)}

// Row r of those that \`output\` needs, within its expert; rows beyond the last are that one again.
fn rowOf(output: u32, r: u32) -> u32 { return r / ROWS * p.outputs + min(output + r % ROWS, p.outputs - 1u); }

@compute @workgroup_size(WORKGROUP)   // x: outputs; y: target
fn main(lanes: Lanes) {
  let lane = lanes.lane;
  let laneCount = ${v.subgroups ? "lanes.count" : "WORKGROUP"};
  let unit = ${v.subgroups ? "lanes.unit" : "0u"};
  let units = unitsOf(lanes);
  let outputTarget = lanes.group.y;
  let groupFirst = lanes.group.x * p.groupOutputs;
  let groupEnd = min(groupFirst + p.groupOutputs, p.outputs);
  for (var round = 0u; round < p.rounds; round++) {
    let output = groupFirst + (round * units + unit) * ROWS;
    var sums = array<f32, SUMS>();
    for (var choice = 0u; choice < p.choices; choice++) {
      let pair = outputTarget * p.choices + choice;
      let expert = experts[pair];
      let row = expert * p.expertRows - p.firstRow;
      let xRow = pair / p.pairsPerX;
      // A unit without work, or without the expert, keeps the others company, with no vectors to walk.
      let vectors = select(0u, p.rowVectors, output < groupEnd && expert - p.firstExpert < p.pieceExperts);
      var products = array<f32, SUMS>();
      for (var vector = lane; vector < vectors; vector += laneCount) {
        var codes: array<vec4u, SUMS>;
        for (var r = 0u; r < SUMS; r++) { codes[r] = vectorW(row + rowOf(output, r), vector); }
        var inVector = array<f32, SUMS>();
        for (var quad = 0u; quad < VECTOR_QUADS; quad++) {
          let x4 = quadX(xRow, vector * VECTOR_QUADS + quad);
          for (var r = 0u; r < SUMS; r++) { inVector[r] += dot(decodeQuad(codes[r], quad), x4); }
        }
        for (var r = 0u; r < SUMS; r++) { products[r] += scaleW(row + rowOf(output, r), vector) * inVector[r]; }
      }
      for (var r = 0u; r < SUMS; r++) { sums[r] += weightOf(pair) * products[r]; }
    }
    addLanes(&sums, lane);
    if (lane == 0u && output < groupEnd) {
      for (var r = 0u; r < ROWS; r++) {
        if (output + r < p.outputs) { put(sums[r], sums[SUMS - ROWS + r], outputTarget, output + r); }
      }
    }
  }
}`;
};

export function expertRowsLabel(v: ExpertRowsVariant): string {
  return ["moe rows", v.does, v.kind, v.x, v.mix && describeMix(v.mix), v.subgroups && "subgroups"]
    .filter(Boolean)
    .join(" ");
}

const noMix: MixVariant = { shared: "none", residual: false };

const storePair = (binding: number): string => /* wgsl */ `
@group(0) @binding(${binding}) var<storage, read_write> out: array<f32>;                // [T k, outputs]
fn weightOf(pair: u32) -> f32 { return 1.0; }
fn storePair(y: f32, pair: u32, output: u32) {
  if (experts[pair] - p.firstExpert < p.pieceExperts) { out[pair * p.outputs + output] = y; }
}`;

const ends: Record<ExpertRows, (binding: number, mix: MixVariant) => string> = {
  gate: (binding) => /* wgsl */ `
${activationWgsl.silu}
${storePair(binding)}
fn put(z: f32, up: f32, pair: u32, output: u32) { storePair(activate(z) * up, pair, output); }`,

  store: (binding) => /* wgsl */ `
${storePair(binding)}
fn put(z: f32, up: f32, pair: u32, output: u32) { storePair(z, pair, output); }`,

  sum: (binding, mix) => /* wgsl */ `
@group(0) @binding(${binding}) var<storage, read> weights: array<f32>;                  // [T, k]
fn weightOf(pair: u32) -> f32 { return weights[pair]; }
${mixWgsl(mix, binding + 1)}
fn put(z: f32, up: f32, token: u32, output: u32) { putMix(z, token, output); }`,
};
