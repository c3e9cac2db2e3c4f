/**
 * The product for few tokens with long rows of narrow weights (int8, int4): x in workgroup memory.
 *
 * A lane takes 16 bytes of codes at a time, the columns of which lie far from those of its neighbours: loads of x from
 * storage would touch a cache line for each lane, and those, not the weights, would be waited for. So a workgroup first puts
 * x into its memory in the order in which lanes take it, CHUNK vectors of a row at a time: [token, quad of the vector, vector].
 *
 * A subgroup computes ROWS neighbouring outputs of TOKENS tokens. A step takes UNROLL vectors of each row and lane; the codes
 * of the next step are loaded before those of this one are used, the first ones before x is there. Subgroups have one size,
 * and each its outputs (no rounds).
 */
import type { GemvVariant } from "./gemv.wgsl.js";
import { describeVariant, type MatmulVariant, matmulHead } from "./matmul.wgsl.js";
import { vectorColumns } from "./weights/load.wgsl.js";

export interface StagedGemvVariant extends MatmulVariant {
  readonly tokens: GemvVariant["tokens"];
  /** Outputs of a subgroup. */
  readonly rows: GemvVariant["rows"];
  readonly subgroupSize: number;
  readonly workgroup: number;
  /** Vectors of a row that a lane takes at a time. */
  readonly unroll: 1 | 2 | 4;
  /** Vectors of a row whose columns of x are in workgroup memory: a power of two, at least 8, and whole steps. */
  readonly chunk: number;
}

/** A chunk of 16 KiB of x for one token, 32 for more. */
export function largestChunk({ kind, tokens }: Pick<StagedGemvVariant, "kind" | "tokens">): number {
  return (tokens === 1 ? 4096 : 8192) / tokens / vectorColumns[kind];
}

/** Bytes of workgroup memory. */
export function stagedGemvBytes(v: Pick<StagedGemvVariant, "kind" | "tokens" | "chunk">): number {
  return 4 * v.tokens * vectorColumns[v.kind] * v.chunk;
}

export const stagedGemvKernel = (v: StagedGemvVariant): string => {
  const codeRows = range(v.epilogue.gate ? 2 * v.rows : v.rows);
  const tokens = range(v.tokens);
  const quads = range(vectorColumns[v.kind] / 4);
  const sums = codeRows.flatMap((r) => tokens.map((t) => `${r}_${t}`));
  const matrix = (r: number): string => (r < v.rows ? "W" : "U");
  // int8 has one scale a row: it multiplies the total.
  const isGrouped = v.kind === "int4";
  const sum = (i: string): string => (isGrouped ? `inVector${i}` : `sum${i}`);
  const steps = range(v.unroll);
  const load = (keyword: string, at: (u: number) => string): string =>
    steps
      .flatMap((u) => [
        `      let at${keyword === "" ? "" : "First"}${u} = ${at(u)};`,
        ...codeRows.map(
          (r) => `      ${keyword}next${u}_${r} = vector${matrix(r)}(row${r}, at${keyword === "" ? "" : "First"}${u});`,
        ),
        ...(isGrouped
          ? codeRows.map(
              (r) =>
                `      ${keyword}nextScale${u}_${r} = scale${matrix(r)}(row${r}, at${keyword === "" ? "" : "First"}${u});`,
            )
          : []),
      ])
      .join("\n");
  const step = (u: number): string => /* wgsl */ `      {
${isGrouped ? sums.map((i) => `      var inVector${i} = 0.0;`).join("\n") : ""}
${quads
  .map(
    (q) => `      {
${tokens.map((t) => `        let x${t} = staged[place(${t}u, ${q}u, base + ${u}u * SUBGROUP)];`).join("\n")}
${codeRows
  .map(
    (r) => `        let w${r} = rawQuad(codes${u}_${r}, ${q}u);
${tokens.map((t) => `        ${sum(`${r}_${t}`)} = addDot(w${r}, x${t}, ${sum(`${r}_${t}`)});`).join("\n")}`,
  )
  .join("\n")}
      }`,
  )
  .join("\n")}
${isGrouped ? codeRows.flatMap((r) => tokens.map((t) => `      sum${r}_${t} += scale${u}_${r} * inVector${r}_${t};`)).join("\n") : ""}
      }`;
  return /* wgsl */ `
enable subgroups;
${matmulHead(v)}
const WORKGROUP = ${v.workgroup}u;
const SUBGROUP = ${v.subgroupSize}u;
const TOKENS = ${v.tokens}u;
const ROWS = ${v.rows}u;            // outputs of a subgroup
const RESULTS = ROWS * TOKENS;
const CHUNK = ${v.chunk}u;
const STEP = ${v.unroll}u * SUBGROUP;
var<workgroup> staged: array<vec4f, TOKENS * VECTOR_QUADS * CHUNK>;
// Lanes write the quads of few vectors and read one quad of many: exchanged so that eight neighbours meet different banks.
fn place(token: u32, quad: u32, vector: u32) -> u32 {
  return (token * VECTOR_QUADS + quad) * CHUNK + (vector ^ (quad * (8u / VECTOR_QUADS)));
}
// A dot product and an addition would be one instruction more.
fn addDot(w: vec4f, x: vec4f, sum: f32) -> f32 { return fma(w.w, x.w, fma(w.z, x.z, fma(w.y, x.y, fma(w.x, x.x, sum)))); }
fn stagedX(isInRow: bool, token: u32, quad: u32) -> vec4f {
  if (isInRow) { return quadX(min(token, p.tokens - 1u), quad); }
  return vec4f();
}

@compute @workgroup_size(WORKGROUP)   // x, y: outputs; z: blocks of tokens
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let firstToken = group.z * TOKENS;
  let groupFirst = (group.y * p.gridWidth + group.x) * p.groupOutputs;
  let output = groupFirst + subgroup * ROWS;
  // Outputs beyond the piece read its last row and are not stored.
${codeRows.map((r) => `  let row${r} = min(output + ${r % v.rows}u, p.pieceOutputs - 1u)${r < v.rows ? "" : " + p.upRow"};`).join("\n")}
  let last = p.rowVectors - 1u;
${load("var ", (u) => `min(lane + ${u}u * SUBGROUP, last)`)}
${sums.map((i) => `  var sum${i} = 0.0;`).join("\n")}
  for (var first = 0u; first < p.rowVectors; first += CHUNK) {
    let length = min(CHUNK, p.rowVectors - first);
    workgroupBarrier();
    // Whole steps: zeros behind the end of a row.
    for (var quad = thread; quad < (length + STEP - 1u) / STEP * STEP * VECTOR_QUADS; quad += WORKGROUP) {
      let at = quad % VECTOR_QUADS;
      let isInRow = quad / VECTOR_QUADS < length;
${tokens.map((t) => `      staged[place(${t}u, at, quad / VECTOR_QUADS)] = stagedX(isInRow, firstToken + ${t}u, first * VECTOR_QUADS + quad) * quadUnit(at);`).join("\n")}
    }
    workgroupBarrier();
    for (var base = lane; base < length + lane; base += STEP) {
${steps.flatMap((u) => codeRows.map((r) => `      let codes${u}_${r} = next${u}_${r};${isGrouped ? ` let scale${u}_${r} = nextScale${u}_${r};` : ""}`)).join("\n")}
      // At the end of a chunk the next step is the first of the next one: chunks are whole steps.
${load("", (u) => `min(first + base + STEP + ${u}u * SUBGROUP, last)`)}
${steps.map(step).join("\n")}
    }
  }
${codeRows.flatMap((r) => tokens.map((t) => `  let total${r}_${t} = subgroupAdd(sum${r}_${t})${isGrouped ? "" : ` * scale${matrix(r)}(row${r}, 0u)`};`)).join("\n")}
  // A lane for each result: one after the other would wait for memory as often.
  for (var result = lane; result < RESULTS; result += SUBGROUP) {
    var z = 0.0;
    var up = 0.0;
${range(v.rows)
  .flatMap((r) =>
    tokens.map(
      (t) =>
        `    if (result == ${r * v.tokens + t}u) { z = total${r}_${t}; ${v.epilogue.gate ? `up = total${r + v.rows}_${t};` : ""} }`,
    ),
  )
  .join("\n")}
    put(z, up, firstToken + result % TOKENS, output + result / TOKENS);
  }
}`;
};

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

export function stagedGemvLabel(v: StagedGemvVariant): string {
  return `matmul gemv ${describeVariant(v)} t=${v.tokens} rows=${v.rows} staged by ${v.workgroup} of ${v.subgroupSize} ×${v.unroll} chunk=${v.chunk}`;
}
