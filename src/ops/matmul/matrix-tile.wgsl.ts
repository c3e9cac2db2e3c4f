/**
 * A tile of a product on matrix units: f16 operands, f32 accumulators, 16 × 16 × 16 a step. The plain product
 * (./gemm-subgroup-matrix.wgsl.ts) and the experts' (../moe/matrix-tiles.wgsl.ts) are written over it.
 *
 * A tile is TOKENS × ROWS of x Wᵀ; each subgroup computes a block of it. DEPTH columns of K at a time go through workgroup
 * memory while the next ones wait in registers, as they are stored (./matrix-weights.wgsl.ts). With a gate the rows of a block
 * are gate rows, then the up rows that belong to them, so that a subgroup has both.
 *
 * Bounds    WGSL checks every access. Dawn makes offset and stride of a matrix load depend on a comparison unless they and
 *           the array's length are constants, and a stride that is no constant costs much of the speed. So workgroup memory is
 *           an array of blocks: a subgroup chooses its block by an index, which is clamped, and loads at constant offsets.
 */

import { stagedWeights } from "./matrix-weights.wgsl.js";
import type { WeightKind } from "./weight-matrix.js";

/** Tokens and weight rows of a tile and of a subgroup's block, in multiples of 16; columns of K of a tile, of 32. */
export interface MatrixShape {
  readonly tokens: number;
  readonly rows: number;
  /** A block is square. */
  readonly block: 32 | 64;
  readonly depth: 32 | 64;
  /** Two: the next tile is written beside the one that is read, with one barrier less. */
  readonly buffers: 1 | 2;
}

export interface MatrixTile {
  readonly kind: WeightKind;
  readonly shape: MatrixShape;
  /** Threads of a subgroup; the device has no other size. */
  readonly subgroupSize: number;
  readonly gate: boolean;
  /** Results are stored by four: `putQuad` in place of `put`. */
  readonly quads: boolean;
  /**
   * Statements of main, which declare firstOutput, firstToken and lastToken (those of the tile's tokens that exist), firstRow
   * and firstUpRow (rows of W and U of the first output of the launch) from `tile` (.x along outputs, .y along tokens). They
   * may leave main, all lanes together.
   */
  readonly enter: string;
  /** Condition under which the bare sums of a tile are its results, at out[token * p.outputs + p.firstOutput + output]. */
  readonly direct?: string;
}

export function matrixSubgroups({ tokens, rows, block }: MatrixShape): number {
  return (tokens / block) * (rows / block);
}

/** Results of a tile along the weight rows. */
export function matrixOutputs(shape: MatrixShape, gate: boolean): number {
  return gate ? shape.rows / 2 : shape.rows;
}

/** Vectors of a block's lines, with one of padding each against bank conflicts. */
function blockVectors({ block, depth }: MatrixShape): number {
  return block * (depth / 8 + 1);
}

function blockCount(shape: MatrixShape): number {
  const staged = (shape.tokens + shape.rows) / shape.block;
  // At the end each subgroup has one for itself.
  return Math.max(shape.buffers * staged, matrixSubgroups(shape));
}

/** Bytes of workgroup memory. */
export function matrixWorkgroupBytes(shape: MatrixShape): number {
  return 16 * blockVectors(shape) * blockCount(shape);
}

/** `enable` lines of a kernel with a tile. */
export const matrixEnables = /* wgsl */ `
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);`;

/**
 * The tile's constants and `main`. Needs x: array<vec4u> of halves with rowOctets() of them in a row, vectorW, scaleW,
 * vectorU and scaleU (with `gate`), p.pieceOutputs, and
 *   fn tokenX(firstToken: u32, lastToken: u32, line: u32) -> u32   row of x of a line of the tile, also beyond lastToken
 *   fn put(z: f32, up: f32, token: u32, output: u32), or putQuad with vec4f, for tokens up to lastToken
 */
export const matrixTile = ({ kind, shape, subgroupSize, gate, quads, enter, direct }: MatrixTile): string => {
  const { tokens, rows, block, depth, buffers } = shape;
  const staged = stagedWeights[kind];
  const threads = matrixSubgroups(shape) * subgroupSize;
  const octets = depth / 8;
  const tokenBlocks = tokens / block;
  const rowBlocks = rows / block;
  const fragments = range(block / 16);
  // A thread stages the same columns in each step: whole lines are dealt out. Steps are written out, because arrays would not
  // stay in registers.
  const xLines = threads / octets;
  const xSteps = range(tokens / xLines);
  const units = octets / staged.octets;
  const wLines = threads / units;
  const wSteps = range(Math.ceil(rows / wLines));
  // int4 in small tiles: more threads than units.
  const wGuard = wLines > rows ? "if (wLine < ROWS) " : "";
  const raws = (s: number): string[] => range(staged.vectors).map((v) => `raw${s}_${v}`);
  const firstLoads = `
${xSteps.map((s) => `  var nextX${s} = x[token${s} * octets + xOctet];`).join("\n")}
${loadW("var ", "wUnit")}`;
  function loadW(keyword: string, unit: string): string {
    const up = (name: string, v: string): string =>
      gate ? `select${name}(row%, ${v}, isUp%)` : `${name === "Vector" ? "vectorW" : "scaleW"}(row%, ${v})`;
    return wSteps
      .map((s) => {
        const named = (text: string): string => text.replaceAll("%", String(s));
        const loads = raws(s).map(
          (raw, v) =>
            `  ${keyword}${raw} = ${named(up("Vector", staged.vectors === 1 ? unit : `2u * (${unit}) + ${v}u`))};`,
        );
        if (staged.scaled) loads.push(`  ${keyword}factor${s} = ${named(up("Scale", unit))};`);
        return loads.join("\n");
      })
      .join("\n");
  }
  const storeW = (buffer: string): string =>
    wSteps
      .flatMap((s) =>
        range(staged.octets).map((o) => {
          const [a, b = a] = raws(s);
          const value = `halvesOf(${a}, ${b}, ${staged.scaled ? `factor${s}` : "1.0"}, ${o}u)`;
          return `    ${wGuard}{ ${place(buffer, tokenBlocks, s * wLines, wLines, "wLine", `wUnit * ${staged.octets}u + ${o}u`)} = ${value}; }`;
        }),
      )
      .join("\n");
  const storeX = (buffer: string): string =>
    xSteps.map((s) => `    ${place(buffer, 0, s * xLines, xLines, "xLine", "xOctet")} = nextX${s};`).join("\n");
  /** Where line \`first + line\` (line < lines) of the tokens or rows lies. */
  function place(buffer: string, blocks: number, first: number, lines: number, line: string, octet: string): string {
    if (block % lines === 0) {
      const index = blocks + Math.floor(first / block);
      return `memory[${buffer}${index}u][(${line} + ${first % block}u) * STRIDE + ${octet}]`;
    }
    return `memory[${buffer}${blocks + first / block}u + ${line} / BLOCK][(${line} % BLOCK) * STRIDE + ${octet}]`;
  }
  const multiply = (buffer: string): string =>
    range(depth / 16)
      .map(
        (k) => `    {
${fragments.map((i) => `      let x${i} = subgroupMatrixLoad<Left, row_major>(&memory[${buffer}tokenBlock], ${16 * i * (octets + 1) + 2 * k}u, STRIDE);`).join("\n")}
${fragments
  .map(
    (
      j,
    ) => `      let w${j} = subgroupMatrixLoad<Right, col_major>(&memory[${buffer}${tokenBlocks}u + rowBlock], ${16 * j * (octets + 1) + 2 * k}u, STRIDE);
${fragments.map((i) => `      z${i}${j} = subgroupMatrixMultiplyAccumulate(x${i}, w${j}, z${i}${j});`).join("\n")}`,
  )
  .join("\n")}
    }`,
      )
      .join("\n");
  const advance = `    // The last round loads its own tile again instead of one beyond the end.
    let ahead = min(octet0 + DEPTH, octets - DEPTH);
${xSteps.map((s) => `    nextX${s} = x[token${s} * octets + ahead + xOctet];`).join("\n")}
${loadW("", `ahead / ${staged.octets}u + wUnit`)}`;
  const rounds =
    buffers === 1
      ? `  for (var octet0 = 0u; octet0 < octets; octet0 += DEPTH) {
    workgroupBarrier();
${storeX("")}
${storeW("")}
    workgroupBarrier();
${advance}
${multiply("")}
  }`
      : `${storeX("")}
${storeW("")}
  workgroupBarrier();
  var buffer = 0u;
  for (var octet0 = 0u; octet0 < octets; octet0 += DEPTH) {
${advance}
${multiply("buffer + ")}
    buffer = ${tokenBlocks + rowBlocks}u - buffer;
${storeX("buffer + ")}
${storeW("buffer + ")}
    workgroupBarrier();
  }`;
  return /* wgsl */ `
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;
const WORKGROUP = ${threads}u;
const SUBGROUP = ${subgroupSize}u;
const TOKENS = ${tokens}u;
const ROWS = ${rows}u;
const OUTPUTS = ${matrixOutputs(shape, gate)}u;
const BLOCK = ${block}u;
const BLOCK_OUTPUTS = ${gate ? block / 2 : block}u;
const DEPTH = ${octets}u;           // octets of K in a tile
const STRIDE = DEPTH + 1u;
// Blocks of [line, octet], halves: those of the tokens, then those of the rows. At the end f32 results of each subgroup.
var<workgroup> memory: array<array<vec4u, ${blockVectors(shape)}>, ${blockCount(shape)}>;

${staged.decode}
${staged.sum}
${gate ? gatedRows : plainRows}
${gate ? selectRows : ""}
${storeStrip(gate, quads)}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) subgroupLane: u32,
) {
  let tile = bandedTile(group.xy, groups.xy);
${enter}
  let tokenBlock = subgroup / ${rowBlocks}u;
  let rowBlock = subgroup % ${rowBlocks}u;
${fragments.map((i) => fragments.map((j) => `  var z${i}${j}: Sums;`).join("\n")).join("\n")}
  let octets = rowOctets();
  let xLine = lane / DEPTH;
  let xOctet = lane % DEPTH;
${xSteps.map((s) => `  let token${s} = tokenX(firstToken, lastToken, xLine + ${s * xLines}u);`).join("\n")}
  let wLine = lane / ${units}u;
  let wUnit = lane % ${units}u;
${wSteps.map((s) => `  let row${s} = rowOf(firstRow, firstUpRow, firstOutput, ${wGuard ? "min(wLine, ROWS - 1u)" : `wLine + ${s * wLines}u`});`).join("\n")}
${gate ? wSteps.map((s) => `  let isUp${s} = isUp(wLine + ${s * wLines}u);`).join("\n") : ""}
${firstLoads}
${rounds}
  let firstOfBlock = firstToken + tokenBlock * BLOCK;
${direct ? storeDirect(direct, fragments) : ""}
  workgroupBarrier();
${fragments
  .map(
    (i) => `
${fragments.map((j) => `  subgroupMatrixStore<row_major>(&memory[subgroup], ${4 * j}u, z${i}${j}, BLOCK / 4u);`).join("\n")}
  workgroupBarrier();
  storeStrip(subgroup, subgroupLane, firstOfBlock + ${16 * i}u, lastToken, firstOutput + rowBlock * BLOCK_OUTPUTS, firstRow, firstUpRow);
${i === fragments.length - 1 ? "" : "  workgroupBarrier();"}`,
  )
  .join("\n")}
}

// Neighbouring workgroups share operands in the cache: they walk bands of 8 tiles of tokens.
fn bandedTile(group: vec2u, groups: vec2u) -> vec2u {
  let at = group.y * groups.x + group.x;
  let first = at / (8u * groups.x) * 8u;
  let height = min(8u, groups.y - first);
  let inBand = at - first * groups.x;
  return vec2u(inBand / height, first + inBand % height);
}`;
};

const storeDirect = (condition: string, fragments: readonly number[]): string => /* wgsl */ `
  if (${condition}) {
    let corner = firstOfBlock * p.outputs + p.firstOutput + firstOutput + rowBlock * BLOCK_OUTPUTS;
${fragments.map((i) => fragments.map((j) => `    subgroupMatrixStore<row_major>(&out, corner + ${16 * i}u * p.outputs + ${16 * j}u, z${i}${j}, p.outputs);`).join("\n")).join("\n")}
    return;
  }`;

// Lines beyond the edge repeat the last row; their results are not stored.
const plainRows = /* wgsl */ `
fn rowOf(firstRow: u32, firstUpRow: u32, firstOutput: u32, line: u32) -> u32 {
  return firstRow + min(firstOutput + line, p.pieceOutputs - 1u);
}`;
const gatedRows = /* wgsl */ `
fn isUp(line: u32) -> bool { return line % BLOCK >= BLOCK_OUTPUTS; }
fn rowOf(firstRow: u32, firstUpRow: u32, firstOutput: u32, line: u32) -> u32 {
  let output = firstOutput + line / BLOCK * BLOCK_OUTPUTS + line % BLOCK_OUTPUTS;
  return select(firstRow, firstUpRow, isUp(line)) + min(output, p.pieceOutputs - 1u);
}`;
const selectRows = /* wgsl */ `
fn selectVector(row: u32, vector: u32, isUp: bool) -> vec4u {
  if (isUp) { return vectorU(row, vector); }
  return vectorW(row, vector);
}
fn selectScale(row: u32, vector: u32, isUp: bool) -> f32 {
  if (isUp) { return scaleU(row, vector); }
  return scaleW(row, vector);
}`;

/** Stores 16 tokens of a subgroup's block. */
function storeStrip(gate: boolean, quads: boolean): string {
  const head = /* wgsl */ `
fn storeStrip(subgroup: u32, lane: u32, firstToken: u32, lastToken: u32, firstOutput: u32, firstRow: u32, firstUpRow: u32) {`;
  if (!quads) {
    // Neighbouring lanes store neighbouring results; a lane stays with its output.
    return /* wgsl */ `${head}
  for (var column = lane; column < BLOCK_OUTPUTS; column += SUBGROUP) {
    let output = firstOutput + column;
    let scale = scaleW(firstRow + output, 0u);
    ${gate ? "let upScale = scaleU(firstUpRow + output, 0u);" : ""}
    for (var token = 0u; token < 16u; token++) {
      if (firstToken + token > lastToken) { break; }
      let at = token * (BLOCK / 4u) + column / 4u;
      let z = scaledSum(bitcast<f32>(memory[subgroup][at][column % 4u]), scale);
      let up = ${gate ? "scaledSum(bitcast<f32>(memory[subgroup][at + BLOCK_OUTPUTS / 4u][column % 4u]), upScale)" : "0.0"};
      put(z, up, firstToken + token, output);
    }
  }
}`;
  }
  const four = (expression: (c: number) => string): string => `vec4f(${range(4).map(expression).join(", ")})`;
  const ups = gate ? four((c) => `scaledSum(ups[${c}], scaleU(firstUpRow + output + ${c}u, 0u))`) : "vec4f()";
  return /* wgsl */ `${head}
  for (var i = lane; i < 4u * BLOCK_OUTPUTS; i += SUBGROUP) {
    let token = i / (BLOCK_OUTPUTS / 4u);
    let quad = i % (BLOCK_OUTPUTS / 4u);
    let at = token * (BLOCK / 4u) + quad;
    let output = firstOutput + 4u * quad;
    if (firstToken + token <= lastToken) {
      let sums = bitcast<vec4f>(memory[subgroup][at]);
      ${gate ? "let ups = bitcast<vec4f>(memory[subgroup][at + BLOCK_OUTPUTS / 4u]);" : ""}
      let z = ${four((c) => `scaledSum(sums[${c}], scaleW(firstRow + output + ${c}u, 0u))`)};
      putQuad(z, ${ups}, firstToken + token, output);
    }
  }
}`;
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

export function matrixShapeLabel({ tokens, rows, block, depth, buffers }: MatrixShape): string {
  return `${tokens}×${rows}×${depth} blocks of ${block}${buffers === 2 ? " twice" : ""}`;
}
