/**
 * The experts' tiles (./tiles.wgsl.ts) on matrix units: f16 operands, f32 accumulators (../matmul/matrix-tile.wgsl.ts).
 *
 *   gate   h[place] = SiLU(W1 x) · (W3 x) of the pair at the place, as halves in the order that W2 wants
 *   down   y[pair]  = W2 h[place]
 *
 * Precision x and h are rounded to f16 (held inside ±65504), as the weights are.
 */
import { activationWgsl } from "../matmul/epilogue.wgsl.js";
import { packQuad, rowOctetsWgsl } from "../matmul/gemm-subgroup-matrix.wgsl.js";
import { type MatrixShape, matrixEnables, matrixShapeLabel, matrixTile } from "../matmul/matrix-tile.wgsl.js";
import type { WeightKind } from "../matmul/weight-matrix.js";
import { hasScales, weightAccess, weightDecoding } from "../matmul/weights/load.wgsl.js";
import { expertTilesParams } from "./tiles.wgsl.js";

export interface ExpertMatrixVariant {
  readonly kind: WeightKind;
  readonly shape: MatrixShape;
  readonly subgroupSize: number;
  readonly does: "gate" | "down";
  /** Of `gate`: the order of halves that the kind of W2 wants. */
  readonly swaps: boolean;
}

/** Buffers: halves of x or h, order, starts, tiles, codes and scales, result. Grid: tiles of outputs; tiles of places. */
export const expertMatrixKernel = (v: ExpertMatrixVariant): string => {
  const out = hasScales(v.kind) ? 7 : 6;
  const gate = v.does === "gate";
  return /* wgsl */ `
${matrixEnables}
${expertTilesParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4u>;        // halves
@group(0) @binding(2) var<storage, read> order: array<u32>;      // [T k]
@group(0) @binding(3) var<storage, read> starts: array<u32>;     // [E + 1]
@group(0) @binding(4) var<storage, read> tiles: array<vec2u>;
${weightDecoding(v.kind)}
${weightAccess({ kind: v.kind, name: "W", codes: 5, scales: 6, scaleRow: "p.scaleRow" })}
${rowOctetsWgsl}
${gate ? gateEnds(out, v.swaps) : downEnds(out)}
${matrixTile({ ...v, gate, quads: gate, enter: enterTile })}`;
};

// An expert below the bound ones wraps around to a large number; E is never bound.
const enterTile = /* wgsl */ `
  let expert = tiles[tile.y].x;
  if (expert - p.firstExpert >= p.pieceExperts) { return; }
  let firstOutput = tile.x * OUTPUTS;
  let firstToken = tiles[tile.y].y;
  let lastToken = min(firstToken + TOKENS, starts[expert + 1u]) - 1u;
  let firstRow = expert * p.expertRows - p.firstRow;
  let firstUpRow = firstRow + p.pieceOutputs;`;

const gateEnds = (out: number, swaps: boolean): string => /* wgsl */ `
@group(0) @binding(${out}) var<storage, read_write> out: array<vec2u>;   // [T k, I rounded up]: halves
${activationWgsl.silu}
${packQuad(swaps)}
fn tokenX(first: u32, last: u32, line: u32) -> u32 { return order[min(first + line, last)] / p.topK; }
fn vectorU(row: u32, vector: u32) -> vec4u { return vectorW(row, vector); }
fn scaleU(row: u32, vector: u32) -> f32 { return scaleW(row, vector); }
fn hidden(z: f32, up: f32, output: u32) -> f32 {
  // Rows are filled up with zeros.
  if (output < p.pieceOutputs) { return activate(z) * up; }
  return 0.0;
}
fn putQuad(z: vec4f, up: vec4f, place: u32, output: u32) {
  let rowQuads = (p.pieceOutputs + 63u) / 64u * 16u;
  if (output < 4u * rowQuads) {
    let quad = vec4f(hidden(z.x, up.x, output), hidden(z.y, up.y, output + 1u), hidden(z.z, up.z, output + 2u), hidden(z.w, up.w, output + 3u));
    out[place * rowQuads + output / 4u] = packQuad(quad);
  }
}`;

const downEnds = (out: number): string => /* wgsl */ `
@group(0) @binding(${out}) var<storage, read_write> out: array<f32>;     // [T k, H]
fn tokenX(first: u32, last: u32, line: u32) -> u32 { return min(first + line, last); }
fn put(z: f32, up: f32, place: u32, output: u32) {
  if (output < p.pieceOutputs) { out[order[place] * p.pieceOutputs + output] = z; }
}`;

export function expertMatrixLabel(v: ExpertMatrixVariant): string {
  return `moe tiles ${v.does} ${v.kind}${v.swaps ? " swapped" : ""} matrix ${matrixShapeLabel(v.shape)}`;
}
