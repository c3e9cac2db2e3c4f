/**
 * The gradient of lightning attention on WebGPU, all chunks of 64 tokens side by side, from the states before them (S) and the
 * gradients of the states behind them (G); m tokens in the chunk, i, j = 0 … m − 1, decays λ:
 *
 *   queries  dq_i = λ^(i + 1) S dO_i       + Σ_{j ≤ i} λ^(i − j) (dO_i · v_j) k_j
 *   keys     dk_j = λ^(m − 1 − j) G v_j    + Σ_{i ≥ j} λ^(i − j) (dO_i · v_j) q_i
 *            dv_j = λ^(m − 1 − j) Gᵀ k_j   + Σ_{i ≥ j} λ^(i − j) (q_i · k_j) dO_i
 *
 * Every exponent is ≤ 0. Wide heads are cut into slices of 64 channels; a workgroup makes one.
 */
import type { WebGpuKernel } from "../../device/index.js";
import { range, rowOf, TILE_THREADS, TileProducts, tilePlace } from "../causal-attention/tile-products.wgsl.js";
import { lightningParams, lines, quadsOf } from "./lightning-attention.wgsl.js";

export type GradientPass = "queries" | "keys";

export const gradientSlices = (headDim: number): number => Math.ceil(headDim / 64);

const list = range(8);

/**
 * Buffers: rows, decay, qkv, dOut, then S [chunk, H, D, D] ("queries") or G ("keys"), dQkv. Grid: x: heads · slices; y, z:
 * chunks.
 */
export function lightningGradientKernel(pass: GradientPass, headDim: number): WebGpuKernel {
  const slices = gradientSlices(headDim);
  const tiles = new TileProducts(headDim, Math.ceil(quadsOf(headDim) / slices));
  const part = pass === "queries" ? ["dq"] : ["dk", "dv"];
  return {
    label: `lightning gradient ${pass} D=${headDim}`,
    code: /* wgsl */ `
${lightningParams.wgsl}
${tiles.constants}
const SLICES = ${slices}u;
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4i>;         // first token, count, slot, past
@group(0) @binding(2) var<storage, read> decay: array<f32>;          // [H]
${lines("qkv", 3, headDim, "read")}            // [T, H, 3, D]
${lines("dOut", 4, headDim, "read")}           // [T, H, D]
${lines("states", 5, headDim, "read")}         // [chunk, H, D, D]
${lines("dQkv", 6, headDim, "read_write")}           // [T, H, 3, D]
${tilePlace}
// Quad c of q (part 0), k or v of the chunk's token t; zeros beyond the edges.
fn quadOfQkv(line: u32, t: u32, c: u32, part: u32, m: u32) -> vec4f {
  let value = loadQkv((line + min(t, m - 1u) * p.heads) * 3u + part, min(c, D4 - 1u));
  return select(vec4f(), value, t < m && c < D4);
}
fn quadOfDOut(line: u32, t: u32, c: u32, m: u32) -> vec4f {
  let value = loadDOut(line + min(t, m - 1u) * p.heads, min(c, D4 - 1u));
  return select(vec4f(), value, t < m && c < D4);
}
fn quadOfState(line: u32, row: u32, c: u32) -> vec4f {
  let value = loadStates(line + min(row, D - 1u), min(c, D4 - 1u));
  return select(vec4f(), value, row < D && c < D4);
}

@compute @workgroup_size(${TILE_THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
${tiles.setup}
  let head = group.x / SLICES;
  let firstQuad = group.x % SLICES * WIDTH;
  let chunk = group.y + group.z * 65535u;
  let place = tilePlace(chunk, p.rows);
  if (place.x >= p.rows) { return; }
  let row = rows[place.x];
  let m = min(TILE, u32(row.y) - place.y);
  let line = (u32(row.x) + place.y) * p.heads + head;     // of dOut; of qkv three times that, q, k, v side by side
${part.flatMap((name) => list.flatMap((r) => tiles.columns.map((n) => `  var ${name}${r}_${n} = vec4f();`))).join("\n")}
  if (row.z >= 0) {
    let slope = decay[head];
    let stateLine = (chunk * p.heads + head) * D;
${pass === "queries" ? queriesBody(tiles) : keysBody(tiles)}
  }
${tiles.store("m", (token, c, r, n) => {
  const stores = part.map(
    (name) =>
      `storeDQkv((line + ${token} * p.heads) * 3u + ${{ dq: 0, dk: 1, dv: 2 }[name]}u, firstQuad + ${c}, ${name}${r}_${n});`,
  );
  return `if (firstQuad + ${c} < D4) { ${stores.join(" ")} }`;
})}
}`,
  };
}

const qkv =
  (part: number, first = "") =>
  (t: string, c: string) =>
    `quadOfQkv(line, ${t}, ${first}${c}, ${part}u, m)`;
const up =
  (first = "") =>
  (t: string, c: string) =>
    `quadOfDOut(line, ${t}, ${first}${c}, m)`;
const SLICE = "firstQuad + ";

/** λ to the distance between a thread's rows and columns; 0 where it is negative. */
function decays(names: readonly string[], distance: (row: string) => string): string {
  return list
    .map((r) => {
      const row = `vec4i(i32(4u * ty + ${rowOf(r)}u))`;
      const uses = names.map((name) => `${name}${r} *= factor;`).join(" ");
      return `    {
      let distance = ${distance(row)};
      let factor = select(vec4f(), exp(-slope * vec4f(max(distance, vec4i()))), distance >= vec4i());
      ${uses}
    }`;
    })
    .join("\n");
}

const scaled = (tiles: TileProducts, names: readonly string[], exponent: (row: string) => string): string =>
  list
    .map((r) => {
      const uses = names.flatMap((name) => tiles.columns.map((n) => `${name}${r}_${n} *= factor;`)).join(" ");
      return `    { let factor = exp(-slope * ${exponent(`(4u * ty + ${rowOf(r)}u)`)}); ${uses} }`;
    })
    .join("\n");

const columns = "let column = vec4i(i32(4u * tx)) + vec4i(0, 1, 2, 3);";

/** Σ over value channels with the state's lines, which are key channels: a result has those of the slice as its columns. */
const stateLines = (row: string, c: string) => `quadOfState(stateLine, 4u * firstQuad + ${row}, ${c})`;

function queriesBody(tiles: TileProducts): string {
  const past = tiles.dot({ rows: up(), columns: stateLines, result: (r) => `dq${r}_0` });
  const pulled = tiles.dot({ rows: up(), columns: qkv(2), result: (r) => `w${r}` });
  const sum = tiles.outer({
    factors: (r) => `w${r}`,
    matrix: qkv(1, SLICE),
    count: "m",
    result: (r, n) => `dq${r}_${n}`,
  });
  return `
${list.map((r) => `    var w${r} = vec4f();`).join("\n")}
${past}
${scaled(tiles, ["dq"], (row) => `f32(${row} + 1u)`)}
${pulled}
    ${columns}
${decays(["w"], (row) => `${row} - column`)}
${sum}`;
}

function keysBody(tiles: TileProducts): string {
  const future = tiles.dot({ rows: qkv(2), columns: stateLines, result: (r) => `dk${r}_0` });
  const turned = tiles.mixed({
    rows: qkv(1),
    matrix: (row, c) => `quadOfState(stateLine, ${row}, firstQuad + ${c})`,
    result: (r, n) => `dv${r}_${n}`,
  });
  const scores = tiles.dot({ rows: qkv(1), columns: qkv(0), result: (r) => `s${r}` });
  const pulled = tiles.dot({ rows: qkv(2), columns: up(), result: (r) => `w${r}` });
  const values = tiles.outer({
    factors: (r) => `s${r}`,
    matrix: up(SLICE),
    count: "m",
    result: (r, n) => `dv${r}_${n}`,
  });
  const keys = tiles.outer({
    factors: (r) => `w${r}`,
    matrix: qkv(0, SLICE),
    count: "m",
    result: (r, n) => `dk${r}_${n}`,
  });
  return `
    ${columns}
${future}
${turned}
${scaled(tiles, ["dk", "dv"], (row) => `f32(max(m, ${row} + 1u) - 1u - ${row})`)}
    {
${list.map((r) => `    var s${r} = vec4f();`).join("\n")}
${scores}
${decays(["s"], (row) => `column - ${row}`)}
${values}
    }
    {
${list.map((r) => `    var w${r} = vec4f();`).join("\n")}
${pulled}
${decays(["w"], (row) => `column - ${row}`)}
${keys}
    }`;
}
