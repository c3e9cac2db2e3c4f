/**
 * The product for few tokens (decoding): every weight is read once, for all tokens.
 *
 * A unit (a subgroup, or a workgroup where there are none) computes ROWS neighbouring outputs of TOKENS tokens: its lanes
 * walk along K, each with 16 bytes of every row at a time, and their sums are added at the end. Bound by memory.
 */
import { describeVariant, type MatmulVariant, matmulHead } from "./matmul.wgsl.js";

export interface GemvVariant extends MatmulVariant {
  /** At least T. */
  readonly tokens: 1 | 2 | 4 | 8;
  /** Outputs of a unit at a time. */
  readonly rows: 1 | 2 | 4;
  readonly subgroups: boolean;
}

/** Threads of a workgroup. */
export const gemvThreads = { subgroups: 128, plain: 64 } as const;

/**
 * What a unit is, for kernels with WORKGROUP and SUMS: `Lanes` (main's parameter), `unitsOf` (units of a workgroup) and
 * `addLanes`, after which at least lane 0 of the unit has the totals.
 */
export const subgroupUnits = /* wgsl */ `
struct Lanes {
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(subgroup_size) count: u32,
  @builtin(subgroup_id) unit: u32,
}
fn countOf(lanes: Lanes) -> u32 { return lanes.count; }
fn unitOf(lanes: Lanes) -> u32 { return lanes.unit; }
fn addLanes(sums: array<f32, SUMS>, lane: u32) -> array<f32, SUMS> {
  var totals = array<f32, SUMS>();
  for (var i = 0u; i < SUMS; i++) { totals[i] = subgroupAdd(sums[i]); }
  return totals;
}`;

export const workgroupUnits = /* wgsl */ `
struct Lanes {
  @builtin(local_invocation_index) lane: u32,
}
fn countOf(lanes: Lanes) -> u32 { return WORKGROUP; }
fn unitOf(lanes: Lanes) -> u32 { return 0u; }
var<workgroup> partial: array<f32, SUMS * WORKGROUP>;
// Lane 0 has the totals.
fn addLanes(sums: array<f32, SUMS>, lane: u32) -> array<f32, SUMS> {
  workgroupBarrier(); // the round before has been read
  for (var i = 0u; i < SUMS; i++) { partial[i * WORKGROUP + lane] = sums[i]; }
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      for (var i = 0u; i < SUMS; i++) { partial[i * WORKGROUP + lane] += partial[i * WORKGROUP + lane + half]; }
    }
  }
  var totals = array<f32, SUMS>();
  if (lane == 0u) {
    for (var i = 0u; i < SUMS; i++) { totals[i] = partial[i * WORKGROUP]; }
  }
  return totals;
}`;

/** Sums stay in registers only where every index is a constant, so the loops over rows and tokens are written out. */
export const gemvKernel = (v: GemvVariant): string => {
  const codeRows = range(v.epilogue.gate ? 2 * v.rows : v.rows);
  const tokens = range(v.tokens);
  const sums = codeRows.flatMap((r) => tokens.map((t) => `${r}_${t}`));
  const matrix = (r: number): string => (r < v.rows ? "W" : "U");
  return /* wgsl */ `
${v.subgroups ? "enable subgroups;" : ""}
${matmulHead(v)}
const WORKGROUP = ${v.subgroups ? gemvThreads.subgroups : gemvThreads.plain}u;
const TOKENS = ${v.tokens}u;
const ROWS = ${v.rows}u;            // outputs of a unit
const CODE_ROWS = ${codeRows.length}u;       // rows of codes that they need: with a gate the up rows come last
const SUMS = CODE_ROWS * TOKENS;
${v.subgroups ? subgroupUnits : workgroupUnits}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, lanes: Lanes) {
  let lane = lanes.lane;
  let laneCount = countOf(lanes);
  let groupFirst = (group.y * p.gridWidth + group.x) * p.groupOutputs;
  let groupEnd = min(groupFirst + p.groupOutputs, p.pieceOutputs);
  for (var round = 0u; round < p.rounds; round++) {
    let output = groupFirst + (round * (WORKGROUP / laneCount) + unitOf(lanes)) * ROWS;
    // A unit without work keeps the others company, with no vectors to walk.
    let vectors = select(0u, p.rowVectors, output < groupEnd);
    // Outputs beyond the piece read its last row and are not stored.
${codeRows.map((r) => `    let row${r} = min(output + ${r % v.rows}u, p.pieceOutputs - 1u)${r < v.rows ? "" : " + p.upRow"};`).join("\n")}
${sums.map((i) => `    var sum${i} = 0.0;`).join("\n")}
    for (var vector = lane; vector < vectors; vector += laneCount) {
${codeRows.map((r) => `      let codes${r} = vector${matrix(r)}(row${r}, vector);`).join("\n")}
${sums.map((i) => `      var inVector${i} = 0.0;`).join("\n")}
      for (var quad = 0u; quad < VECTOR_QUADS; quad++) {
${codeRows.map((r) => `        let w${r} = decodeQuad(codes${r}, quad);`).join("\n")}
${tokens.map((t) => `        let x${t} = quadX(min(${t}u, p.tokens - 1u), vector * VECTOR_QUADS + quad);`).join("\n")}
${codeRows.flatMap((r) => tokens.map((t) => `        inVector${r}_${t} += dot(w${r}, x${t});`)).join("\n")}
      }
${codeRows.map((r) => `      let scale${r} = scale${matrix(r)}(row${r}, vector);`).join("\n")}
${codeRows.flatMap((r) => tokens.map((t) => `      sum${r}_${t} += scale${r} * inVector${r}_${t};`)).join("\n")}
    }
    let totals = addLanes(array<f32, SUMS>(${sums.map((i) => `sum${i}`).join(", ")}), lane);
    if (lane == 0u && output < groupEnd) {
      for (var r = 0u; r < ROWS; r++) {
        for (var t = 0u; t < TOKENS; t++) {
          put(totals[r * TOKENS + t], totals[(CODE_ROWS - ROWS + r) * TOKENS + t], t, output + r);
        }
      }
    }
  }
}`;
};

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

export function gemvLabel(v: GemvVariant): string {
  return `matmul gemv ${describeVariant(v)} t=${v.tokens} rows=${v.rows}${v.subgroups ? " subgroups" : ""}`;
}
