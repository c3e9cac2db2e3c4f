/**
 * The products of a backward pass (./operands.ts) on matrix units: f16 operands, f32 accumulators, tiles as in
 * ../matrix-tile.wgsl.ts.
 *
 * An operand by columns goes to workgroup memory as it lies, a line for each k; the units read it in the other order. There a
 * block is [DEPTH lines, its outputs], else [its outputs, DEPTH], lines of either filled up with a vector against conflicts.
 */
import { type MatrixShape, matrixEnables, matrixShapeLabel } from "../matrix-tile.wgsl.js";
import { contractionBindings, contractionParams, enterContraction } from "./contraction.wgsl.js";
import type { ContractionMode, Order } from "./operands.js";

export interface ContractionMatrixVariant {
  readonly a: Order;
  readonly b: Order;
  readonly mode: ContractionMode;
  /** tokens: m; rows: n. */
  readonly shape: MatrixShape;
  readonly subgroupSize: number;
  /** Of `places`. */
  readonly unit: number;
}

/** One operand's way into workgroup memory. */
interface Staged {
  readonly name: "a" | "b";
  readonly order: Order;
  /** Outputs of a tile. */
  readonly size: number;
  /** Vectors of a line of a block, with padding. */
  readonly stride: number;
  /** Octets of a tile's line, lines that all threads stage at once, and steps. */
  readonly octets: number;
  readonly lines: number;
  readonly steps: readonly number[];
  readonly firstBlock: number;
}

function stagedOf(v: ContractionMatrixVariant, name: "a" | "b"): Staged {
  const { tokens, rows, block, depth } = v.shape;
  const order = v[name];
  const size = name === "a" ? tokens : rows;
  const octets = (order === "rows" ? depth : size) / 8;
  const lines = contractionThreads(v) / octets;
  const stride = (order === "rows" ? depth : block) / 8 + 1;
  const steps = range((order === "rows" ? size : depth) / lines);
  return { name, order, size, stride, octets, lines, steps, firstBlock: name === "a" ? 0 : tokens / block };
}

function contractionThreads({ shape, subgroupSize }: ContractionMatrixVariant): number {
  return (shape.tokens / shape.block) * (shape.rows / shape.block) * subgroupSize;
}

function blockVectors({ block, depth }: MatrixShape): number {
  return Math.max(block * (depth / 8 + 1), depth * (block / 8 + 1), 4 * block);
}

function blockCount({ tokens, rows, block }: MatrixShape): number {
  // At the end each subgroup has one for itself.
  return Math.max((tokens + rows) / block, (tokens / block) * (rows / block));
}

export function contractionWorkgroupBytes(shape: MatrixShape): number {
  return 16 * blockVectors(shape) * blockCount(shape);
}

/** Buffers: A, B, the experts' table, C. Grid: tiles of n; tiles of m; parts of the sum times experts. */
export const contractionMatrixKernel = (v: ContractionMatrixVariant): string => {
  const { table, out } = contractionBindings(v.mode);
  const { tokens, rows, block, depth } = v.shape;
  const a = stagedOf(v, "a");
  const b = stagedOf(v, "b");
  const fragments = range(block / 16);
  const each = (text: (i: number) => string): string => fragments.map(text).join("\n");
  return /* wgsl */ `
${matrixEnables}
${contractionParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4u>;        // halves
@group(0) @binding(2) var<storage, read> b: array<vec4u>;
${v.mode === "plain" ? "" : `@group(0) @binding(${table}) var<storage, read> table: array<u32>;`}
@group(0) @binding(${out}) var<storage, read_write> out: array<f32>;
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;
const SUBGROUP = ${v.subgroupSize}u;
const TILE_M = ${tokens}u;
const TILE_N = ${rows}u;
const BLOCK = ${block}u;
const DEPTH = ${depth}u;
const UNIT = ${v.unit}u;
var<workgroup> memory: array<array<vec4u, ${blockVectors(v.shape)}>, ${blockCount(v.shape)}>;

@compute @workgroup_size(${contractionThreads(v)})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) subgroupLane: u32,
) {
  let tile = bandedTile(group.xy, groups.xy);
  let firstM = tile.y * TILE_M;
  let firstN = tile.x * TILE_N;
${enterContraction[v.mode]}
  let mBlock = subgroup / ${rows / block}u;
  let nBlock = subgroup % ${rows / block}u;
${each((i) => each((j) => `  var z${i}${j}: Sums;`))}
${placesOf(a, "firstM", "p.M", "0u")}
${placesOf(b, "firstN", "p.N", "firstLineB")}
${loadsOf(a, "var ", "kBegin", "0u")}
${loadsOf(b, "var ", "kBegin", "firstLineB")}
  for (var k = kBegin; k < kEnd; k += DEPTH) {
    workgroupBarrier();
${storesOf(a, block)}
${storesOf(b, block)}
    workgroupBarrier();
    // The last round loads its own tile again instead of one beyond the end.
    let ahead = select(k, k + DEPTH, k + DEPTH < kEnd);
${loadsOf(a, "", "ahead", "0u")}
${loadsOf(b, "", "ahead", "firstLineB")}
${range(depth / 16)
  .map(
    (step) => `    {
${each((i) => `      let x${i} = ${fragment(a, "Left", "mBlock", i, step)};`)}
${each(
  (j) => `      let w${j} = ${fragment(b, "Right", `${b.firstBlock}u + nBlock`, j, step)};
${each((i) => `      z${i}${j} = subgroupMatrixMultiplyAccumulate(x${i}, w${j}, z${i}${j});`)}`,
)}
    }`,
  )
  .join("\n")}
  }
  let m0 = firstM + mBlock * BLOCK;
  let n0 = firstN + nBlock * BLOCK;
  if (firstM + TILE_M <= p.M && firstN + TILE_N <= p.N) {
    let corner = outBase + m0 * p.outStride + n0;
${each((i) => each((j) => `    subgroupMatrixStore<row_major>(&out, corner + ${16 * i}u * p.outStride + ${16 * j}u, z${i}${j}, p.outStride);`))}
    return;
  }
  workgroupBarrier();
${each(
  (i) => `
${each((j) => `  subgroupMatrixStore<row_major>(&memory[subgroup], ${4 * j}u, z${i}${j}, BLOCK / 4u);`)}
  workgroupBarrier();
  storeStrip(subgroup, subgroupLane, m0 + ${16 * i}u, n0, outBase);
${i === fragments.length - 1 ? "" : "  workgroupBarrier();"}`,
)}
}

// Neighbouring lanes store neighbouring results.
fn storeStrip(subgroup: u32, lane: u32, m0: u32, n0: u32, base: u32) {
  for (var column = lane; column < BLOCK; column += SUBGROUP) {
    if (n0 + column >= p.N) { break; }
    for (var line = 0u; line < 16u; line++) {
      if (m0 + line >= p.M) { break; }
      let z = bitcast<f32>(memory[subgroup][line * (BLOCK / 4u) + column / 4u][column % 4u]);
      out[base + (m0 + line) * p.outStride + n0 + column] = z;
    }
  }
}

// Neighbouring workgroups share operands in the cache: they walk bands of 8 tiles of m.
fn bandedTile(group: vec2u, groups: vec2u) -> vec2u {
  let at = group.y * groups.x + group.x;
  let first = at / (8u * groups.x) * 8u;
  let height = min(8u, groups.y - first);
  let inBand = at - first * groups.x;
  return vec2u(inBand / height, first + inBand % height);
}`;
};

/** Where a thread reads: lines beyond the edge repeat the last one; their results are not stored. */
function placesOf(
  { name, order, octets, lines, steps }: Staged,
  first: string,
  count: string,
  firstLine: string,
): string {
  const head = `  let ${name}Line = lane / ${octets}u;
  let ${name}Octet = lane % ${octets}u;`;
  if (order === "columns")
    return `${head}\n  let ${name}Column = min(${first} / 8u + ${name}Octet, p.${name}Stride - 1u);`;
  return [
    head,
    ...steps.map(
      (s) =>
        `  let ${name}At${s} = (${firstLine} + min(${first} + ${name}Line + ${s * lines}u, ${count} - 1u)) * p.${name}Stride + ${name}Octet;`,
    ),
  ].join("\n");
}

function loadsOf({ name, order, lines, steps }: Staged, keyword: string, k: string, firstLine: string): string {
  return steps
    .map((s) => {
      const target = `${keyword}${name}Next${s}`;
      if (order === "rows") return `  ${target} = ${name}[${name}At${s} + ${k} / 8u];`;
      const line = `${k} + ${name}Line + ${s * lines}u`;
      const read = `${name}[(${firstLine} + min(${line}, p.K - 1u)) * p.${name}Stride + ${name}Column]`;
      // Lines beyond the end repeat the last one: zeros on one side are enough.
      return name === "a" ? `  ${target} = ${read};` : `  ${target} = select(vec4u(), ${read}, ${line} < kEnd);`;
    })
    .join("\n");
}

function storesOf({ name, order, lines, steps, stride, firstBlock }: Staged, block: number): string {
  return steps
    .map((s) => {
      const line = `${name}Line + ${s * lines}u`;
      const place =
        order === "rows"
          ? `memory[${firstBlock}u + (${line}) / BLOCK][(${line}) % BLOCK * ${stride}u + ${name}Octet]`
          : `memory[${firstBlock}u + ${name}Octet / ${block / 8}u][(${line}) * ${stride}u + ${name}Octet % ${block / 8}u]`;
      return `    ${place} = ${name}Next${s};`;
    })
    .join("\n");
}

/** The i-th 16 outputs of a block, at the step's 16 of k. */
function fragment({ order, stride }: Staged, side: "Left" | "Right", block: string, i: number, step: number): string {
  const isAlong = (order === "rows") === (side === "Left");
  const offset = order === "rows" ? 16 * i * stride + 2 * step : 16 * step * stride + 2 * i;
  return `subgroupMatrixLoad<${side}, ${isAlong ? "row_major" : "col_major"}>(&memory[${block}], ${offset}u, ${stride}u)`;
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

export function contractionMatrixLabel(v: ContractionMatrixVariant): string {
  const places = v.mode === "places" ? ` of ${v.unit}` : "";
  return `contraction f16 ${v.mode} ${v.a}×${v.b}${places} ${matrixShapeLabel(v.shape)}, subgroups of ${v.subgroupSize}`;
}
