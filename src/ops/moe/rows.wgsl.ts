/**
 * The expert layer for few tokens: one-row products of each (token, choice) pair with the chosen expert.
 *
 * As in the plain product (../matmul/gemv.wgsl.ts) a unit, a subgroup or a workgroup, computes ROWS neighbouring outputs,
 * its lanes walking along K by vectors or quads; here of one *target*, which is a pair, or a token whose choices it adds up.
 *
 *   gate    h[pair, i] = SiLU(W1 x) · (W3 x)
 *   store   y[pair, c] = W2 h                                where the experts come in several pieces
 *   sum     out[t, c]  = mix(Σ over choices of w · (W2 h))
 *
 * Pieces    Codes are bound from row `firstRow`; pairs of experts that are not bound are left out (by `gate` and `store`).
 */
import { params } from "../../device/index.js";
import { activationWgsl } from "../matmul/epilogue.wgsl.js";
import { type GemvVariant, gemvThreads, subgroupUnits, workgroupUnits } from "../matmul/gemv.wgsl.js";
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
  readonly walk: GemvVariant["walk"];
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

/** As in the plain product the loops over rows are written out, so that sums stay in registers. */
export const expertRowsKernel = (v: ExpertRowsVariant): string => {
  const afterWeights = hasScales(v.kind) ? 5 : 4;
  const unitRows = expertUnitRows(v.does);
  // With a gate the up rows come last.
  const rows = Array.from({ length: v.does === "gate" ? 2 * unitRows : unitRows }, (_, r) => r);
  const byVectors = /* wgsl */ `
      for (var vector = lane; vector < length; vector += laneCount) {
${rows.map((r) => `        let codes${r} = vectorW(row${r}, vector);`).join("\n")}
${rows.map((r) => `        var inVector${r} = 0.0;`).join("\n")}
        for (var quad = 0u; quad < VECTOR_QUADS; quad++) {
          let x4 = quadX(xRow, vector * VECTOR_QUADS + quad);
${rows.map((r) => `          inVector${r} += dot(decodeQuad(codes${r}, quad), x4);`).join("\n")}
        }
${rows.map((r) => `        product${r} += scaleW(row${r}, vector) * inVector${r};`).join("\n")}
      }`;
  const byQuads = /* wgsl */ `
      for (var quad = lane; quad < length; quad += laneCount) {
        let x4 = quadX(xRow, quad);
${rows.map((r) => `        product${r} += dot(loadW4(row${r}, quad), x4);`).join("\n")}
      }`;
  const walk = v.walk === "quads" ? byQuads : byVectors;
  return /* wgsl */ `
${v.subgroups ? "enable subgroups;" : ""}
${expertParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${quadX[v.x]}
@group(0) @binding(2) var<storage, read> experts: array<u32>;              // [T, k]
${weightDecoding(v.kind)}
${weightAccess({ kind: v.kind, name: "W", codes: 3, scales: 4, scaleRow: "p.scaleRow" })}
const WORKGROUP = ${v.subgroups ? gemvThreads.subgroups : gemvThreads.plain}u;
const ROWS = ${unitRows}u;                              // outputs of a unit
const SUMS = ${rows.length}u;                              // rows of codes that they need
${v.subgroups ? subgroupUnits : workgroupUnits}
${ends[v.does](afterWeights, v.mix ?? noMix)}

@compute @workgroup_size(WORKGROUP)   // x: outputs; y: target
fn main(@builtin(workgroup_id) group: vec3u, lanes: Lanes) {
  let lane = lanes.lane;
  let laneCount = countOf(lanes);
  let groupFirst = group.x * p.groupOutputs;
  let groupEnd = min(groupFirst + p.groupOutputs, p.outputs);
  for (var round = 0u; round < p.rounds; round++) {
    let output = groupFirst + (round * (WORKGROUP / laneCount) + unitOf(lanes)) * ROWS;
${rows.map((r) => `    var sum${r} = 0.0;`).join("\n")}
    for (var choice = 0u; choice < p.choices; choice++) {
      let pair = group.y * p.choices + choice;
      let expert = experts[pair];
      let xRow = pair / p.pairsPerX;
      // A unit without work, or without the expert, keeps the others company, with nothing to walk.
      let length = select(0u, ${v.walk === "quads" ? "p.rowVectors * VECTOR_QUADS" : "p.rowVectors"}, output < groupEnd && expert - p.firstExpert < p.pieceExperts);
      let firstRow = expert * p.expertRows - p.firstRow;
      // Outputs beyond the last read its row and are not stored.
${rows.map((r) => `      let row${r} = firstRow + min(output + ${r % unitRows}u, p.outputs - 1u)${r < unitRows ? "" : " + p.outputs"};`).join("\n")}
${rows.map((r) => `      var product${r} = 0.0;`).join("\n")}
${walk}
      let weight = weightOf(pair);
${rows.map((r) => `      sum${r} += weight * product${r};`).join("\n")}
    }
    let totals = addLanes(array<f32, SUMS>(${rows.map((r) => `sum${r}`).join(", ")}), lane);
    if (lane == 0u && output < groupEnd) {
      for (var r = 0u; r < ROWS; r++) {
        if (output + r < p.outputs) { put(totals[r], totals[SUMS - ROWS + r], group.y, output + r); }
      }
    }
  }
}`;
};

export function expertRowsLabel(v: ExpertRowsVariant): string {
  return ["moe rows", v.does, v.kind, v.x, v.mix && describeMix(v.mix), `by ${v.walk}`, v.subgroups && "subgroups"]
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
