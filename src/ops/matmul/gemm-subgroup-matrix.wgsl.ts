/**
 * The product for many tokens on matrix units: f16 operands, f32 accumulators, 16 × 16 × 16 a step.
 *
 * Four subgroups make a tile of 128 tokens × 128 weight rows, 64 × 64 each; 32 columns of K at a time go through workgroup
 * memory while the next ones wait in registers (the fastest of the shapes tried on an H100). x is rounded to halves by a
 * launch before, because each of its rows is staged many times. With a gate a tile holds 64 gate
 * rows and the 64 up rows that belong to them, so that one pair of subgroups has the gate and its neighbours the factor.
 *
 * Precision x and the weights are rounded to f16 (x held inside ±65504), products add up in float32.
 */
import { params } from "../../device/index.js";
import { describeVariant, type MatmulVariant, matmulHead, quadX, type XLoad } from "./matmul.wgsl.js";

const packOctet = /* wgsl */ `
fn packOctet(a: vec4f, b: vec4f) -> vec4u {
  // A larger number would become infinite.
  let low = clamp(a, vec4f(-65504.0), vec4f(65504.0));
  let high = clamp(b, vec4f(-65504.0), vec4f(65504.0));
  return vec4u(pack2x16float(low.xy), pack2x16float(low.zw), pack2x16float(high.xy), pack2x16float(high.zw));
}`;

export const halvesParams = params({ tokens: "u32", inputs: "u32", rowOctets: "u32" });
export const HALVES_WORKGROUP = 64;

/** Octets of a row of halves: K rounded up to the depth of a tile. */
export function halvesRowOctets(K: number): number {
  return Math.ceil(K / 32) * 4;
}

/** Buffers: x, halves [T, rowOctets] of 16 bytes, filled up with zeros. Grid: octets; tokens. */
export const halvesKernel = (x: XLoad): string => /* wgsl */ `
${halvesParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${quadX[x]}
@group(0) @binding(2) var<storage, read_write> halves: array<vec4u>;
${packOctet}
@compute @workgroup_size(${HALVES_WORKGROUP})
fn main(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let token = at.z * groups.y + at.y;
  if (token >= p.tokens || at.x >= p.rowOctets) { return; }
  var octet = vec4u();
  if (8u * at.x < p.inputs) { octet = packOctet(quadX(token, 2u * at.x), quadX(token, 2u * at.x + 1u)); }
  halves[token * p.rowOctets + at.x] = octet;
}`;

export interface MatrixGemmVariant extends Omit<MatmulVariant, "x"> {
  /** Threads of a subgroup; the device has no other size. */
  readonly subgroupSize: number;
}

/** Weight rows, and tokens, of a tile. */
export const matrixTile = 128;
/** Bytes of workgroup memory that the kernel needs. */
export const matrixWorkgroupBytes = 2 * matrixTile * 5 * 16 + 4 * 16 * 64 * 4;

export const matrixGemmKernel = (v: MatrixGemmVariant): string => {
  // Octets of a tile that a thread stages. They are named one by one: an array would not stay in registers.
  const steps = (matrixTile * 4) / (4 * v.subgroupSize);
  return /* wgsl */ `
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
${matmulHead({ ...v, x: "halves" })}
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;
const WORKGROUP = ${4 * v.subgroupSize}u;
const TILE = ${matrixTile}u;
const TILE_OUTPUTS = ${v.epilogue.gate ? matrixTile / 2 : matrixTile}u;
const DEPTH = 4u;                  // octets of K in a tile
const STRIDE = DEPTH + 1u;         // an octet of padding against bank conflicts
var<workgroup> tileX: array<vec4u, TILE * STRIDE>; // [token, octet], halves
var<workgroup> tileW: array<vec4u, TILE * STRIDE>; // [weight row, octet], halves
// 16 rows of the results of each subgroup: [token block, row block, 16, 64].
var<workgroup> strips: array<f32, 4u * 16u * 64u>;

${packOctet}
fn octetX(token: u32, octet: u32) -> vec4u { return x[token * rowOctets() + octet]; }
fn rowOctets() -> u32 { return (p.inputs + 31u) / 32u * DEPTH; }
${(v.kind === "f16" ? codesAsTheyAre : codesPacked)(v.epilogue.gate)}
${v.epilogue.gate ? gatedTile : plainTile}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
) {
  let firstOutput = group.x * TILE_OUTPUTS;
  let firstToken = group.y * TILE;
  let tokenBlock = subgroup / 2u;
  let rowBlock = subgroup % 2u;
  let lastToken = p.tokens - 1u;
${grid((i, j) => `  var z${i}${j}: Sums;`)}

${each(steps, (s) => `  let line${s} = (lane + ${s}u * WORKGROUP) / DEPTH;`)}
  let column = lane % DEPTH;   // WORKGROUP is a multiple of DEPTH: the same octet in each step
${each(steps, (s) => `  let token${s} = min(firstToken + line${s}, lastToken);`)}
${each(steps, (s) => `  var nextX${s} = octetX(token${s}, column);`)}
${each(steps, (s) => `  var nextW${s} = octetW(firstOutput, line${s}, column);`)}
  // Rows are padded to multiples of 32 columns, the depth of a tile.
  let octets = rowOctets();
  for (var octet0 = 0u; octet0 < octets; octet0 += DEPTH) {
    workgroupBarrier();
${each(steps, (s) => `    tileX[line${s} * STRIDE + column] = nextX${s};`)}
${each(steps, (s) => `    tileW[line${s} * STRIDE + column] = nextW${s};`)}
    workgroupBarrier();
    // The last round loads its own tile again instead of one beyond the end.
    let ahead = min(octet0 + DEPTH, octets - DEPTH) + column;
${each(steps, (s) => `    nextX${s} = octetX(token${s}, ahead);`)}
${each(steps, (s) => `    nextW${s} = octetW(firstOutput, line${s}, ahead);`)}
    for (var octet = 0u; octet < DEPTH; octet += 2u) {
      let atX = tokenBlock * 64u * STRIDE + octet;
      let atW = rowBlock * 64u * STRIDE + octet;
${four((i) => `      let x${i} = subgroupMatrixLoad<Left, row_major>(&tileX, atX + ${16 * i}u * STRIDE, STRIDE);`)}
${four((j) => `      let w${j} = subgroupMatrixLoad<Right, col_major>(&tileW, atW + ${16 * j}u * STRIDE, STRIDE);`)}
${grid((i, j) => `      z${i}${j} = subgroupMatrixMultiplyAccumulate(x${i}, w${j}, z${i}${j});`)}
    }
  }
  let strip = subgroup * 1024u;
${four(
  (i) => `
${four((j) => `  subgroupMatrixStore<row_major>(&strips, strip + ${16 * j}u, z${i}${j}, 64u);`)}
  workgroupBarrier();
  putStrips(firstToken + ${16 * i}u, firstOutput, lane);
  workgroupBarrier();`,
)}
}`;
};

const codesAsTheyAre = (gate: boolean): string => /* wgsl */ `
fn halvesW(row: u32, octet: u32) -> vec4u { return vectorW(row, octet); }
${gate ? "fn halvesU(row: u32, octet: u32) -> vec4u { return vectorU(row, octet); }" : ""}`;
const codesPacked = (gate: boolean): string => /* wgsl */ `
fn halvesW(row: u32, octet: u32) -> vec4u {
  let w = loadW8(row, octet);
  return packOctet(w[0], w[1]);
}
${gate ? "fn halvesU(row: u32, octet: u32) -> vec4u {\n  let u = loadU8(row, octet);\n  return packOctet(u[0], u[1]);\n}" : ""}`;

/** Row \`line\` of the tile of weights, and the results in the strips. */
const plainTile = /* wgsl */ `
fn octetW(firstOutput: u32, line: u32, octet: u32) -> vec4u {
  return halvesW(min(firstOutput + line, p.pieceOutputs - 1u), octet);
}
fn putStrips(firstToken: u32, firstOutput: u32, lane: u32) {
  for (var i = lane; i < 4096u; i += WORKGROUP) {
    let output = i % 128u;
    let token = i / 128u % 16u;
    let tokenBlock = i / 2048u;
    let z = strips[(tokenBlock * 2u + output / 64u) * 1024u + token * 64u + output % 64u];
    put(z, 0.0, firstToken + tokenBlock * 64u + token, firstOutput + output);
  }
}`;

const gatedTile = /* wgsl */ `
fn octetW(firstOutput: u32, line: u32, octet: u32) -> vec4u {
  let output = min(firstOutput + line % 64u, p.pieceOutputs - 1u);
  if (line < 64u) { return halvesW(output, octet); }
  return halvesU(p.upRow + output, octet);
}
fn putStrips(firstToken: u32, firstOutput: u32, lane: u32) {
  for (var i = lane; i < 2048u; i += WORKGROUP) {
    let output = i % 64u;
    let token = i / 64u % 16u;
    let tokenBlock = i / 1024u;
    let at = tokenBlock * 2048u + token * 64u + output;
    put(strips[at], strips[at + 1024u], firstToken + tokenBlock * 64u + token, firstOutput + output);
  }
}`;

function each(count: number, line: (i: number) => string): string {
  return Array.from({ length: count }, (_, i) => line(i)).join("\n");
}

function four(line: (i: number) => string): string {
  return each(4, line);
}

function grid(line: (i: number, j: number) => string): string {
  return four((i) => four((j) => line(i, j)));
}

export function matrixGemmLabel(v: MatrixGemmVariant): string {
  return `matmul gemm ${describeVariant({ ...v, x: "halves" })} matrix`;
}
