/**
 * The product for many tokens in float32: tiles of TILE × TILE results, 4 × 4 a thread, 16 columns of K at a time through
 * workgroup memory. Weights of any kind are widened while they are staged.
 *
 * Both operands run along K in memory, so both tiles hold vectors along K and a thread's 4 × 4 products are four
 * vector-by-matrix products: 8 vectors are read for 64 multiply-adds. Rows of a tile are padded by a vector against bank
 * conflicts. Workgroup memory: 15 KiB with a gate, of the 16 that WebGPU guarantees.
 */
import { describeVariant, type MatmulVariant, matmulHead } from "./matmul.wgsl.js";

export interface GemmVariant extends MatmulVariant {
  /** Results along an edge of the tile. */
  readonly tile: 32 | 64;
}

export const gemmKernel = (v: GemmVariant): string => /* wgsl */ `
${matmulHead(v)}
fn lineX(firstToken: u32, lastToken: u32, line: u32, quad: u32) -> vec4f { return quadX(min(firstToken + line, lastToken), quad); }
${gemmTile({ tile: v.tile, gate: v.epilogue.gate, enter: wholeMatrix })}`;

const wholeMatrix = /* wgsl */ `
  let firstToken = group.y * TILE;
  let lastToken = p.tokens - 1u;
  let firstRow = 0u;
  let firstUpRow = p.upRow;`;

export interface GemmTile {
  readonly tile: 32 | 64;
  readonly gate: boolean;
  /**
   * The first statements of main, which declare firstToken and lastToken (those of the tile's tokens that exist), firstRow and
   * firstUpRow (rows of W and U of the first output). They may leave main, all lanes together.
   */
  readonly enter: string;
}

/**
 * The tile's constants and `main`. Needs loadW4, loadU4 (with `gate`), `put`, p.inputs, p.pieceOutputs, and
 *   fn lineX(firstToken: u32, lastToken: u32, line: u32, quad: u32) -> vec4f   of a line of the tile, also beyond lastToken
 */
export const gemmTile = (v: GemmTile): string => /* wgsl */ `
const TILE = ${v.tile}u;
const SIDE = TILE / 4u;      // threads along an edge
const DEPTH = 4u;            // quads of K in a tile
const STRIDE = DEPTH + 1u;
var<workgroup> tileX: array<vec4f, TILE * STRIDE>;
var<workgroup> tileW: array<vec4f, TILE * STRIDE>;
${v.gate ? "var<workgroup> tileU: array<vec4f, TILE * STRIDE>;" : ""}

@compute @workgroup_size(SIDE * SIDE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let firstOutput = group.x * TILE;
${v.enter}
  let column = lane % SIDE;
  let row = lane / SIDE;
  // Tokens row + i SIDE, outputs column + j SIDE of the tile.
  var z: mat4x4f;
  var up: mat4x4f;
  let quads = (p.inputs + 3u) / 4u;
  for (var quad0 = 0u; quad0 < quads; quad0 += DEPTH) {
    workgroupBarrier();
    for (var i = lane; i < TILE * DEPTH; i += SIDE * SIDE) {
      let line = i / DEPTH;
      let quad = i % DEPTH;
      // Lines beyond the edges repeat the last one; their results are not stored.
      let output = min(firstOutput + line, p.pieceOutputs - 1u);
      tileX[line * STRIDE + quad] = lineX(firstToken, lastToken, line, quad0 + quad);
      tileW[line * STRIDE + quad] = loadW4(firstRow + output, quad0 + quad);
      ${v.gate ? "tileU[line * STRIDE + quad] = loadU4(firstUpRow + output, quad0 + quad);" : ""}
    }
    workgroupBarrier();
    for (var quad = 0u; quad < DEPTH; quad++) {
      let at = column * STRIDE + quad;
      let x0 = tileX[row * STRIDE + quad];
      let x1 = tileX[(row + SIDE) * STRIDE + quad];
      let x2 = tileX[(row + 2u * SIDE) * STRIDE + quad];
      let x3 = tileX[(row + 3u * SIDE) * STRIDE + quad];
      let w = mat4x4f(tileW[at], tileW[at + SIDE * STRIDE], tileW[at + 2u * SIDE * STRIDE], tileW[at + 3u * SIDE * STRIDE]);
      z += mat4x4f(x0 * w, x1 * w, x2 * w, x3 * w);
      ${v.gate ? gateProducts : ""}
    }
  }
  for (var i = 0u; i < 4u; i++) {
    let token = firstToken + row + i * SIDE;
    if (token > lastToken) { break; }
    for (var j = 0u; j < 4u; j++) { put(z[i][j], up[i][j], token, firstOutput + column + j * SIDE); }
  }
}`;

const gateProducts = /* wgsl */ `
      let u = mat4x4f(tileU[at], tileU[at + SIDE * STRIDE], tileU[at + 2u * SIDE * STRIDE], tileU[at + 3u * SIDE * STRIDE]);
      up += mat4x4f(x0 * u, x1 * u, x2 * u, x3 * u);`;

export function gemmLabel(v: GemmVariant): string {
  return `matmul gemm ${describeVariant(v)} tile=${v.tile}`;
}
