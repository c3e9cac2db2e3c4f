/**
 * The product for few tokens (decoding): every weight is read once for TOKENS tokens.
 *
 * A unit (a subgroup, or a workgroup where there are none) computes ROWS neighbouring outputs of TOKENS tokens: its lanes
 * walk along K, and their sums are added at the end. By vectors a lane takes 16 bytes of codes at a time: fewest loads of
 * codes. By quads it takes four columns: no lane is idle in short rows, and neighbours load neighbouring parts of x.
 */
import { describeVariant, type MatmulVariant, matmulHead } from "./matmul.wgsl.js";

export interface GemvVariant extends MatmulVariant {
  /** At least T. */
  readonly tokens: 1 | 2 | 4 | 8;
  /** Outputs of a unit at a time. */
  readonly rows: 1 | 2 | 4;
  readonly walk: "vectors" | "quads";
  readonly subgroups: boolean;
}

/** Threads of a workgroup. */
export const gemvThreads = { subgroups: 128, plain: 64 } as const;

/**
 * What a unit is, for kernels with WORKGROUP and SUMS: `Lanes` (main's parameter), `unitsOf` (units of a workgroup) and
 * `addLanes`, after which every lane of the unit has the totals.
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
fn addLanes(sums: array<f32, SUMS>, lane: u32) -> array<f32, SUMS> {
  workgroupBarrier(); // the round before has been read
  for (var i = 0u; i < SUMS; i++) { partial[i * WORKGROUP + lane] = sums[i]; }
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      for (var i = 0u; i < SUMS; i++) { partial[i * WORKGROUP + lane] += partial[i * WORKGROUP + lane + half]; }
    }
  }
  workgroupBarrier();
  var totals = array<f32, SUMS>();
  for (var i = 0u; i < SUMS; i++) { totals[i] = partial[i * WORKGROUP]; }
  return totals;
}`;

/** Sums stay in registers only where every index is a constant, so the loops over rows and tokens are written out. */
export const gemvKernel = (v: GemvVariant): string => {
  const codeRows = range(v.epilogue.gate ? 2 * v.rows : v.rows);
  const tokens = range(v.tokens);
  const sums = codeRows.flatMap((r) => tokens.map((t) => `${r}_${t}`));
  const matrix = (r: number): string => (r < v.rows ? "W" : "U");
  const xOf = (t: number): string => `min(firstToken + ${t}u, p.tokens - 1u)`;
  // The norm's factor of a row is known at the end, and goes to the sums.
  const loadX = (quad: string): string =>
    v.norm
      ? `        let gains = gain[${quad}];\n${tokens.map((t) => `        let bare${t} = quadX(${xOf(t)}, ${quad}); squares${t} += dot(bare${t}, bare${t}); let x${t} = bare${t} * gains;`).join("\n")}`
      : tokens.map((t) => `        let x${t} = quadX(${xOf(t)}, ${quad});`).join("\n");
  const byVectors = /* wgsl */ `
    for (var vector = lane; vector < length; vector += laneCount) {
${codeRows.map((r) => `      let codes${r} = vector${matrix(r)}(row${r}, vector);`).join("\n")}
${sums.map((i) => `      var inVector${i} = 0.0;`).join("\n")}
      for (var quad = 0u; quad < VECTOR_QUADS; quad++) {
${codeRows.map((r) => `        let w${r} = decodeQuad(codes${r}, quad);`).join("\n")}
${loadX("vector * VECTOR_QUADS + quad")}
${codeRows.flatMap((r) => tokens.map((t) => `        inVector${r}_${t} += dot(w${r}, x${t});`)).join("\n")}
      }
${codeRows.map((r) => `      let scale${r} = scale${matrix(r)}(row${r}, vector);`).join("\n")}
${codeRows.flatMap((r) => tokens.map((t) => `      sum${r}_${t} += scale${r} * inVector${r}_${t};`)).join("\n")}
    }`;
  const byQuads = /* wgsl */ `
    for (var quad = lane; quad < length; quad += laneCount) {
${codeRows.map((r) => `      let w${r} = load${matrix(r)}4(row${r}, quad);`).join("\n")}
${loadX("quad")}
${codeRows.flatMap((r) => tokens.map((t) => `      sum${r}_${t} += dot(w${r}, x${t});`)).join("\n")}
    }`;
  const walk = v.walk === "quads" ? byQuads : byVectors;
  return /* wgsl */ `
${v.subgroups ? "enable subgroups;" : ""}
${matmulHead(v)}
const WORKGROUP = ${v.subgroups ? gemvThreads.subgroups : gemvThreads.plain}u;
const TOKENS = ${v.tokens}u;
const ROWS = ${v.rows}u;            // outputs of a unit
const CODE_ROWS = ${codeRows.length}u;       // rows of codes that they need: with a gate the up rows come last
const SUMS = CODE_ROWS * TOKENS;
const RESULTS = ROWS * TOKENS;
${v.subgroups ? subgroupUnits : workgroupUnits}

@compute @workgroup_size(WORKGROUP)   // x, y: outputs; z: blocks of tokens
fn main(@builtin(workgroup_id) group: vec3u, lanes: Lanes) {
  let lane = lanes.lane;
  let firstToken = group.z * TOKENS;
  let laneCount = countOf(lanes);
  let groupFirst = (group.y * p.gridWidth + group.x) * p.groupOutputs;
  let groupEnd = min(groupFirst + p.groupOutputs, p.pieceOutputs);
  for (var round = 0u; round < p.rounds; round++) {
    let output = groupFirst + (round * (WORKGROUP / laneCount) + unitOf(lanes)) * ROWS;
    // A unit without work keeps the others company, with nothing to walk.
    let length = select(0u, ${v.walk === "quads" ? "p.rowVectors * VECTOR_QUADS" : "p.rowVectors"}, output < groupEnd);
    // Outputs beyond the piece read its last row and are not stored.
${codeRows.map((r) => `    let row${r} = min(output + ${r % v.rows}u, p.pieceOutputs - 1u)${r < v.rows ? "" : " + p.upRow"};`).join("\n")}
${sums.map((i) => `    var sum${i} = 0.0;`).join("\n")}
${v.norm ? tokens.map((t) => `    var squares${t} = 0.0;`).join("\n") : ""}
${walk}
${v.norm ? norm(tokens, xOf, sums) : ""}
    let totals = addLanes(array<f32, SUMS>(${sums.map((i) => `sum${i}`).join(", ")}), lane);
${v.epilogue.multiplyNorm ? factorScales(tokens, xOf) : ""}
    // A lane for each result: one after the other would wait for memory as often.
    for (var first = 0u; first < RESULTS; first += laneCount) {
      let result = first + lane;
      var z = 0.0;
      var up = 0.0;
${range(v.rows * v.tokens)
  .map((i) => `      if (result == ${i}u) { z = totals[${i}]; up = totals[SUMS - RESULTS + ${i}u]; }`)
  .join("\n")}
${v.epilogue.multiplyNorm ? tokens.map((t) => `      if (result % TOKENS == ${t}u) { factorScale = factorScale${t}; }`).join("\n") : ""}
      if (result < RESULTS && output < groupEnd) { put(z, up, firstToken + result % TOKENS, output + result / TOKENS); }
    }
  }
}`;
};

/** Scales the sums, and stores the normed rows: a stretch each unit. With subgroups only, on rows whose loads are whole. */
const norm = (tokens: readonly number[], xOf: (t: number) => string, sums: readonly string[]): string => /* wgsl */ `
${tokens.map((t) => `    let scaleX${t} = inverseSqrt(subgroupAdd(squares${t}) / f32(p.inputs) + p.eps);`).join("\n")}
${sums.map((i) => `    sum${i} *= scaleX${i.split("_")[1]};`).join("\n")}
    if (output < groupEnd) {
      let units = (p.pieceOutputs + ROWS - 1u) / ROWS;
      for (var quad = output / ROWS * laneCount + lane; quad < p.inputs / 4u; quad += units * laneCount) {
${tokens.map((t) => `        normed[${xOf(t)} * (p.inputs / 4u) + quad] = quadX(${xOf(t)}, quad) * scaleX${t} * gain[quad];`).join("\n")}
      }
    }`;

/** Each unit adds up the squares of its tokens' rows of the factor. With subgroups only. */
const factorScales = (tokens: readonly number[], xOf: (t: number) => string): string => /* wgsl */ `
${tokens.map((t) => `    var factorSquares${t} = 0.0;`).join("\n")}
    for (var quad = lane; quad < p.outputs / 4u; quad += laneCount) {
${tokens.map((t) => `      let factor${t} = factor[${xOf(t)} * (p.outputs / 4u) + quad]; factorSquares${t} += dot(factor${t}, factor${t});`).join("\n")}
    }
${tokens.map((t) => `    let factorScale${t} = inverseSqrt(subgroupAdd(factorSquares${t}) / f32(p.outputs) + p.eps);`).join("\n")}`;

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

export function gemvLabel(v: GemvVariant): string {
  return `matmul gemv ${describeVariant(v)} t=${v.tokens} rows=${v.rows} by ${v.walk}${v.subgroups ? " subgroups" : ""}`;
}
