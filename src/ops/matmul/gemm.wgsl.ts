/**
 * The product for many tokens in float32: tiles of TILE tokens × TILE weight rows, 16 columns of K at a time through workgroup
 * memory while the next ones wait in registers. Weights of any kind are widened while they are staged, eight at a time.
 *
 * Both operands run along K in memory, so both tiles hold vectors along K. A thread stages one octet of each and computes
 * 8 × 4 or 4 × 4 results (8 × 8 were slower on an H100). With a gate the tile's rows are TILE / 2 gate rows, then the up rows that belong to them, so
 * that a thread has both.
 *
 * The vectors of a line are exchanged by bits of the line's number: what eight neighbouring threads read or write together
 * lies in different banks, without padding. Workgroup memory: 4 or 8 KiB.
 */
import { describeVariant, type MatmulVariant, matmulHead } from "./matmul.wgsl.js";

export interface GemmVariant extends MatmulVariant {
  readonly tile: TileSize;
}

/** Tokens, and weight rows, of a tile. */
export type TileSize = 32 | 64;

export const gemmKernel = (v: GemmVariant): string => /* wgsl */ `
${matmulHead(v)}
fn tokenX(firstToken: u32, lastToken: u32, line: u32) -> u32 { return min(firstToken + line, lastToken); }
${gemmTile({ tile: v.tile, gate: v.epilogue.gate, enter: wholeMatrix })}`;

const wholeMatrix = /* wgsl */ `
  let firstToken = group.y * TILE;
  let lastToken = p.tokens - 1u;
  let firstRow = 0u;
  let firstUpRow = p.upRow;`;

/** Results of a tile along the weight rows. */
export function tileOutputs(tile: number, gate: boolean): number {
  return gate ? tile / 2 : tile;
}

export interface GemmTile {
  readonly tile: TileSize;
  readonly gate: boolean;
  /**
   * The first statements of main, which declare firstToken and lastToken (those of the tile's tokens that exist), firstRow and
   * firstUpRow (rows of W and U of the first output). They may leave main, all lanes together.
   */
  readonly enter: string;
}

/** Results of a thread: tokens, rows. */
const threadResults: Record<TileSize, { readonly tokens: 4 | 8; readonly rows: 4 }> = {
  32: { tokens: 4, rows: 4 },
  64: { tokens: 8, rows: 4 },
};

/**
 * The tile's constants and `main`. Needs quadX, loadW8, loadU8 (with `gate`), `put`, p.inputs, p.pieceOutputs, and
 *   fn tokenX(firstToken: u32, lastToken: u32, line: u32) -> u32   row of x of a line of the tile, also beyond lastToken
 */
export const gemmTile = (v: GemmTile): string => {
  const { tokens, rows } = threadResults[v.tile];
  const lines = range(tokens);
  // Four neighbouring results of a token are a vector.
  const vectors = range(rows / 4);
  return /* wgsl */ `
const TILE = ${v.tile}u;
const OUTPUTS = ${tileOutputs(v.tile, v.gate)}u;
const COLUMNS = TILE / ${rows}u;     // threads along the weight rows
const LINES = TILE / ${tokens}u;       // threads along the tokens
const DEPTH = 4u;               // quads of K in a tile
var<workgroup> tileX: array<vec4f, TILE * DEPTH>;
var<workgroup> tileW: array<vec4f, TILE * DEPTH>;
fn exchange(line: u32) -> u32 { return (line >> 1u) & 3u; }
${v.gate ? gatedRows : plainRows}

@compute @workgroup_size(COLUMNS * LINES)   // 2 TILE threads: two octets of each line
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let firstOutput = group.x * OUTPUTS;
${v.enter}
  let staged = lane / 2u;
  let octet = lane % 2u;
  let at0 = staged * DEPTH + ((2u * octet) ^ exchange(staged));
  let at1 = staged * DEPTH + ((2u * octet + 1u) ^ exchange(staged));
  let xRow = tokenX(firstToken, lastToken, staged);
  let column = lane % COLUMNS;
  let line = lane / COLUMNS;
  let xAt = line * DEPTH;
  let wAt = column * DEPTH;
  let xExchange = exchange(line);
  let wExchange = exchange(column);
  // Tokens line + i LINES, rows column + j COLUMNS of the tile.
${lines.flatMap((i) => vectors.map((g) => `  var z${i}_${g} = vec4f();`)).join("\n")}
  let octets = (p.inputs + 15u) / 16u * 2u;
  var nextX0 = quadX(xRow, 2u * octet);
  var nextX1 = quadX(xRow, 2u * octet + 1u);
  var nextW = octetW(firstOutput, firstRow, firstUpRow, staged, octet);
  for (var octet0 = 0u; octet0 < octets; octet0 += 2u) {
    workgroupBarrier();
    tileX[at0] = nextX0;
    tileX[at1] = nextX1;
    tileW[at0] = nextW[0];
    tileW[at1] = nextW[1];
    workgroupBarrier();
    // The last round loads its own tile again instead of one beyond the end.
    let ahead = min(octet0 + 2u, octets - 2u) + octet;
    nextX0 = quadX(xRow, 2u * ahead);
    nextX1 = quadX(xRow, 2u * ahead + 1u);
    nextW = octetW(firstOutput, firstRow, firstUpRow, staged, ahead);
    for (var quad = 0u; quad < DEPTH; quad++) {
      let xQuad = xAt + (quad ^ xExchange);
      let wQuad = wAt + (quad ^ wExchange);
${vectors
  .map(
    (g) => `${range(4)
      .map((j) => `      let w${g}_${j} = tileW[wQuad + ${4 * g + j}u * COLUMNS * DEPTH];`)
      .join("\n")}
${range(4)
  .map((k) => `      let k${g}_${k} = vec4f(w${g}_0[${k}], w${g}_1[${k}], w${g}_2[${k}], w${g}_3[${k}]);`)
  .join("\n")}`,
  )
  .join("\n")}
${lines
  .map(
    (i) => `      let x${i} = tileX[xQuad + ${i}u * LINES * DEPTH];
${vectors
  .flatMap((g) => range(4).map((k) => `      z${i}_${g} = fma(vec4f(x${i}[${k}]), k${g}_${k}, z${i}_${g});`))
  .join("\n")}`,
  )
  .join("\n")}
    }
  }
${lines.map((i) => `  if (firstToken + line + ${i}u * LINES <= lastToken) {\n${puts(i, rows, v.gate)}\n  }`).join("\n")}
}`;
};

/** Stores the results of a thread's token. */
function puts(i: number, rows: number, gate: boolean): string {
  const z = (j: number): string => `z${i}_${Math.floor(j / 4)}[${j % 4}]`;
  return range(gate ? rows / 2 : rows)
    .map((j) => {
      const up = gate ? z(j + rows / 2) : "0.0";
      return `    put(${z(j)}, ${up}, firstToken + line + ${i}u * LINES, firstOutput + column + ${j}u * COLUMNS);`;
    })
    .join("\n");
}

// Lines beyond the edge repeat the last row; their results are not stored.
const plainRows = /* wgsl */ `
fn octetW(firstOutput: u32, firstRow: u32, firstUpRow: u32, line: u32, octet: u32) -> mat2x4f {
  return loadW8(firstRow + min(firstOutput + line, p.pieceOutputs - 1u), octet);
}`;
const gatedRows = /* wgsl */ `
fn octetW(firstOutput: u32, firstRow: u32, firstUpRow: u32, line: u32, octet: u32) -> mat2x4f {
  let output = min(firstOutput + line % OUTPUTS, p.pieceOutputs - 1u);
  if (line < OUTPUTS) { return loadW8(firstRow + output, octet); }
  return loadU8(firstUpRow + output, octet);
}`;

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

export function gemmLabel(v: GemmVariant): string {
  return `matmul gemm ${describeVariant(v)} tile=${v.tile}`;
}
