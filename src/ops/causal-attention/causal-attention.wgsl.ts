/**
 * Causal attention and its gradient on WebGPU: a tile of 64 tokens of one head stays, tiles of 64 others go by.
 *
 *   forward  queries stay: s = q · k, softmax as it comes, out += p v
 *   queries  queries stay: s = q · k, dp = dO · v, dq += ds k
 *   keys     keys stay: s = k · q, dv += p dO, dp = v · dO, dk += ds q; the heads of the group follow one another
 *
 * Every sum has one owner. Wide heads are cut into slices of their channels; a workgroup makes one, with all of the scores.
 */
import { params, type WebGpuKernel } from "../../device/index.js";
import { lines } from "../lightning-attention/lightning-attention.wgsl.js";
import type { CausalPass } from "./plan.js";
import { range, rowOf, TILE_THREADS, TileProducts, tilePlace } from "./tile-products.wgsl.js";

export const attentionParams = params({
  heads: "u32",
  kvHeads: "u32",
  rows: "u32",
  /** Positions that a token sees, itself included. */
  window: "u32",
  scale: "f32",
});

const list = range(8);

/** Slices of a head's channels: as many as the sums of a thread need to fit its registers. */
export function causalSlices(pass: CausalPass, headDim: number): number {
  return Math.ceil(headDim / (pass === "keys" ? 64 : 128));
}

/** A grid's x is heads (of keys, for "keys") · slices; y and z are tiles. */
export function causalKernel(pass: CausalPass, headDim: number): WebGpuKernel {
  const slices = causalSlices(pass, headDim);
  const tiles = new TileProducts(headDim, Math.ceil(Math.ceil(headDim / 4) / slices));
  return {
    label: `causal attention ${pass} D=${headDim}`,
    code: /* wgsl */ `
${attentionParams.wgsl}
${tiles.constants}
const SLICES = ${slices}u;
const NOTHING = -1e30;          // below every score; never goes through exp against a real maximum
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4i>;       // first token, count, slot, past
${lines("qkv", 2, headDim, "read")}                                 // [T, H + 2G, D]
${buffers(pass, headDim)}
${tilePlace}
fn quadOf(head: u32, first: u32, count: u32, token: u32, c: u32) -> vec4f {
  let value = loadQkv((first + min(token, count - 1u)) * (p.heads + 2u * p.kvHeads) + head, min(c, D4 - 1u));
  return select(vec4f(), value, token < count && c < D4);
}
${
  pass === "forward"
    ? ""
    : `
fn upOf(head: u32, first: u32, count: u32, token: u32, c: u32) -> vec4f {
  let value = loadDOut((first + min(token, count - 1u)) * p.heads + head, min(c, D4 - 1u));
  return select(vec4f(), value, token < count && c < D4);
}`
}

@compute @workgroup_size(${TILE_THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
${tiles.setup}
  let owner = group.x / SLICES;                       // a head
  let firstQuad = group.x % SLICES * WIDTH;
  let place = tilePlace(group.z * groups.y + group.y, p.rows);
  if (place.x >= p.rows) { return; }
  let row = rows[place.x];
  let rowEnd = u32(row.x + row.y);
  let first = u32(row.x) + place.y;                   // of the tile that stays
  let count = min(TILE, rowEnd - first);
${pass === "keys" ? keysBody(tiles) : queriesBody(tiles, pass)}
}`,
  };
}

function buffers(pass: CausalPass, headDim: number): string {
  if (pass === "forward") {
    return `${lines("out", 3, headDim, "read_write")}       // [T, H, D]
@group(0) @binding(4) var<storage, read_write> logSums: array<f32>;  // [T, H]`;
  }
  const isQueries = pass === "queries";
  return `${lines("dOut", 3, headDim, "read")}              // [T, H, D]
@group(0) @binding(4) var<storage, read> logSums: array<f32>;
@group(0) @binding(5) var<storage, ${isQueries ? "read_write" : "read"}> pulls: array<f32>;    // [T, H]: Σ_j P dP
${lines("dQkv", 6, headDim, "read_write")}                // [T, H + 2G, D]
${isQueries ? lines("out", 7, headDim, "read") : ""}`;
}

/** Four numbers each of the rows 4 ty … and 32 + 4 ty …: element r of `name`. */
const element = (name: string) => (r: number) => `${name}${r >> 2}[${r & 3}]`;

function queriesBody(tiles: TileProducts, pass: "forward" | "queries"): string {
  const sums = list.flatMap((r) => tiles.columns.map((n) => `  var acc${r}_${n} = vec4f();`)).join("\n");
  const keyHead = "(p.heads + kvHead)";
  const valueHead = "(p.heads + p.kvHeads + kvHead)";
  const passing = (head: string) => (token: string, c: string) => `quadOf(${head}, start, passing, ${token}, ${c})`;
  const sliced = (head: string) => (token: string, c: string) => passing(head)(token, `firstQuad + ${c}`);
  const scores = tiles.dot({
    rows: (token, c) => `quadOf(owner, first, count, ${token}, ${c})`,
    columns: passing(keyHead),
    result: (r) => `s${r}`,
  });
  const pulled = tiles.dot({
    rows: (token, c) => `upOf(owner, first, count, ${token}, ${c})`,
    columns: passing(valueHead),
    result: (r) => `w${r}`,
  });
  const sum = tiles.outer({
    factors: (r) => `s${r}`,
    matrix: sliced(pass === "forward" ? valueHead : keyHead),
    count: "passing",
    result: (r, n) => `acc${r}_${n}`,
  });
  const visible = list
    .map((r) => {
      const query = `vec4u(first + 4u * ty + ${rowOf(r)}u)`;
      return `    let visible${r} = (key <= ${query}) & (key + vec4u(p.window) > ${query});`;
    })
    .join("\n");
  return `
  let kvHead = owner / (p.heads / p.kvHeads);
  let oldest = u32(max(row.x, i32(first) - i32(p.window) + 1));
  let end = first + count;
${sums}
${pass === "forward" ? forwardStart : queriesStart}
  for (var start = oldest; start < end; start += TILE) {
    let passing = min(TILE, end - start);
${list.map((r) => `    var s${r} = vec4f();${pass === "forward" ? "" : ` var w${r} = vec4f();`}`).join("\n")}
${scores}
    let key = vec4u(start + 4u * tx) + vec4u(0u, 1u, 2u, 3u);
${visible}
${pass === "forward" ? softmax(tiles) : `${pulled}\n${pullScores}`}
${sum}
  }
${pass === "forward" ? forwardEnd(tiles) : queriesEnd(tiles)}`;
}

const forwardStart = `
  var best0 = vec4f(NOTHING); var best1 = vec4f(NOTHING);   // running maxima; the same in all sixteen threads of ty
  var total0 = vec4f(); var total1 = vec4f();               // of the probabilities of this thread's keys`;

function softmax(tiles: TileProducts): string {
  const most = (from: number) =>
    `vec4f(${range(4)
      .map((i) => `max(max(s${from + i}.x, s${from + i}.y), max(s${from + i}.z, s${from + i}.w))`)
      .join(", ")})`;
  return `
${list.map((r) => `    s${r} = select(vec4f(NOTHING), p.scale * s${r}, visible${r});`).join("\n")}
    workgroupBarrier();
    x[tx * TURNED + ty] = ${most(0)};
    x[tx * TURNED + 8u + ty] = ${most(4)};
    workgroupBarrier();
    var next0 = best0; var next1 = best1;
    for (var i = 0u; i < 16u; i++) {
      next0 = max(next0, x[i * TURNED + ty]);
      next1 = max(next1, x[i * TURNED + 8u + ty]);
    }
    let shrink0 = exp(best0 - next0); let shrink1 = exp(best1 - next1);
    best0 = next0; best1 = next1;
    total0 *= shrink0; total1 *= shrink1;
${list
  .map(
    (r) => `    s${r} = select(vec4f(), exp(s${r} - vec4f(${element("best")(r)})), visible${r});
    ${element("total")(r)} += dot(s${r}, vec4f(1.0));
${tiles.columns.map((n) => `    acc${r}_${n} *= ${element("shrink")(r)};`).join("\n")}`,
  )
  .join("\n")}`;
}

function forwardEnd(tiles: TileProducts): string {
  return `
  workgroupBarrier();
  x[tx * TURNED + ty] = total0;
  x[tx * TURNED + 8u + ty] = total1;
  workgroupBarrier();
  total0 = vec4f(); total1 = vec4f();
  for (var i = 0u; i < 16u; i++) { total0 += x[i * TURNED + ty]; total1 += x[i * TURNED + 8u + ty]; }
  let logSum0 = best0 + log(total0); let logSum1 = best1 + log(total1);
  if (tx == 0u && firstQuad == 0u) {
${list
  .map(
    (r) =>
      `    if (4u * ty + ${rowOf(r)}u < count) { logSums[(first + 4u * ty + ${rowOf(r)}u) * p.heads + owner] = ${element("logSum")(r)}; }`,
  )
  .join("\n")}
  }
${tiles.store("count", (token, c, r, n) => `if (firstQuad + ${c} < D4) { storeOut((first + ${token}) * p.heads + owner, firstQuad + ${c}, acc${r}_${n} / ${element("total")(r)}); }`)}`;
}

/** Two threads a query share dO · out. */
const queriesStart = `
  {
    let query = thread / 2u;
    var part = 0.0;
    if (query < count) {
      let line = (first + query) * p.heads + owner;
      for (var c = thread % 2u; c < D4; c += 2u) { part += dot(loadDOut(line, c), loadOut(line, c)); }
    }
    x[thread].x = part;
  }
  workgroupBarrier();
  if (thread < count && firstQuad == 0u) { pulls[(first + thread) * p.heads + owner] = x[2u * thread].x + x[2u * thread + 1u].x; }
  var pull0: vec4f; var pull1: vec4f; var logSum0: vec4f; var logSum1: vec4f;
${list
  .map(
    (r) => `  {
    let query = 4u * ty + ${rowOf(r)}u;
    ${element("pull")(r)} = x[2u * query].x + x[2u * query + 1u].x;
    if (query < count) { ${element("logSum")(r)} = logSums[(first + query) * p.heads + owner]; }
  }`,
  )
  .join("\n")}`;

const pullScores = list
  .map(
    (r) =>
      `    s${r} = select(vec4f(), p.scale * exp(p.scale * s${r} - vec4f(${element("logSum")(r)})) * (w${r} - vec4f(${element("pull")(r)})), visible${r});`,
  )
  .join("\n");

function queriesEnd(tiles: TileProducts): string {
  return tiles.store(
    "count",
    (token, c, r, n) =>
      `if (firstQuad + ${c} < D4) { storeDQkv((first + ${token}) * (p.heads + 2u * p.kvHeads) + owner, firstQuad + ${c}, acc${r}_${n}); }`,
  );
}

function keysBody(tiles: TileProducts): string {
  const staying = (head: string) => (token: string, c: string) => `quadOf(${head}, first, count, ${token}, ${c})`;
  const queries = (token: string, c: string) => `quadOf(head, start, passing, ${token}, ${c})`;
  const ups = (token: string, c: string) => `upOf(head, start, passing, ${token}, ${c})`;
  const scores = tiles.dot({
    rows: staying("keyHead"),
    columns: queries,
    result: (r) => `s${r}`,
  });
  const pulled = tiles.dot({
    rows: staying("valueHead"),
    columns: ups,
    result: (r) => `w${r}`,
  });
  const values = tiles.outer({
    factors: (r) => `s${r}`,
    matrix: (token, c) => ups(token, `firstQuad + ${c}`),
    count: "passing",
    result: (r, n) => `dv${r}_${n}`,
  });
  const keys = tiles.outer({
    factors: (r) => `w${r}`,
    matrix: (token, c) => queries(token, `firstQuad + ${c}`),
    count: "passing",
    result: (r, n) => `dk${r}_${n}`,
  });
  return `
  let keyHead = p.heads + owner;
  let valueHead = keyHead + p.kvHeads;
  let perGroup = p.heads / p.kvHeads;
  let end = min(rowEnd, first + count - 1u + p.window);
${list.flatMap((r) => tiles.columns.map((n) => `  var dk${r}_${n} = vec4f(); var dv${r}_${n} = vec4f();`)).join("\n")}
  for (var head = owner * perGroup; head < (owner + 1u) * perGroup; head++) {
    for (var start = first; start < end; start += TILE) {
      let passing = min(TILE, end - start);
${list.map((r) => `    var s${r} = vec4f(); var w${r} = vec4f();`).join("\n")}
      var logSum: vec4f; var pull: vec4f;
      for (var j = 0u; j < 4u; j++) {
        if (4u * tx + j < passing) {
          let at = (start + 4u * tx + j) * p.heads + head;
          logSum[j] = logSums[at];
          pull[j] = pulls[at];
        }
      }
${scores}
      let query = vec4u(start + 4u * tx) + vec4u(0u, 1u, 2u, 3u);
      let isThere = query < vec4u(end);
${list
  .map((r) => {
    const key = `vec4u(first + 4u * ty + ${rowOf(r)}u)`;
    return `      s${r} = select(vec4f(), exp(p.scale * s${r} - logSum), isThere & (query >= ${key}) & (query < ${key} + vec4u(p.window)));`;
  })
  .join("\n")}
${values}
${pulled}
${list.map((r) => `      w${r} = p.scale * s${r} * (w${r} - pull);`).join("\n")}
${keys}
    }
  }
${tiles.store(
  "count",
  (token, c, r, n) => `if (firstQuad + ${c} < D4) {
    let line = (first + ${token}) * (p.heads + 2u * p.kvHeads);
    storeDQkv(line + keyHead, firstQuad + ${c}, dk${r}_${n});
    storeDQkv(line + valueHead, firstQuad + ${c}, dv${r}_${n});
  }`,
)}`;
}
