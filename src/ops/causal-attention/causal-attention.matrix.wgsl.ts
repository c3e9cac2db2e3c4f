/**
 * Causal attention and its gradient on matrix units: operands rounded to halves, sums and softmax in float32.
 *
 * As in causal-attention.wgsl.ts, a tile of 64 tokens of one head stays and tiles of 64 others go by (tile-matrices.wgsl.ts).
 *
 * forward goes twice over the keys: first for the logarithms of the softmaxes' sums, then for probabilities that are
 * final; so that sums, which lie in matrix units' order, need never be rescaled.
 *
 * Axes      D is a multiple of 16, at most 64.
 * Precision q, k, v, dO, probabilities and their gradients are rounded to f16 (held inside ±65504) as operands; all sums, and what
 *           enters and leaves, are float32. Small gradients need a scaled loss: f16 ends at 6e-8.
 */
import type { WebGpuKernel } from "../../device/index.js";
import { attentionParams } from "./causal-attention.wgsl.js";
import type { CausalPass } from "./plan.js";
import {
  add,
  declareResults,
  dots,
  matrixEnables,
  matrixTileConstants,
  matrixTileEntry,
  matrixTileSetup,
  type Octet,
  owned,
  quads,
  readSums,
  stage,
  storeResults,
  writeHalves,
} from "./tile-matrices.wgsl.js";
import { range, tilePlace } from "./tile-products.wgsl.js";

/** The same buffers and grid as causalKernel's, for one slice. */
export function causalMatrixKernel(pass: CausalPass, headDim: number): WebGpuKernel {
  const bindings: Readonly<Record<CausalPass, string>> = {
    forward: `
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;        // [T, H, D]
@group(0) @binding(4) var<storage, read_write> logSums: array<f32>;      // [T, H]`,
    queries: `
@group(0) @binding(3) var<storage, read> dOut: array<vec4f>;             // [T, H, D]
@group(0) @binding(4) var<storage, read> logSums: array<f32>;
@group(0) @binding(5) var<storage, read_write> pulls: array<f32>;        // [T, H]: Σ_j P dP
@group(0) @binding(6) var<storage, read_write> dQkv: array<vec4f>;       // [T, H + 2G, D]
@group(0) @binding(7) var<storage, read> out: array<vec4f>;`,
    keys: `
@group(0) @binding(3) var<storage, read> dOut: array<vec4f>;
@group(0) @binding(4) var<storage, read> logSums: array<f32>;
@group(0) @binding(5) var<storage, read> pulls: array<f32>;
@group(0) @binding(6) var<storage, read_write> dQkv: array<vec4f>;`,
  };
  const body = { forward, queries, keys }[pass](headDim / 16);
  return {
    label: `causal attention ${pass} D=${headDim} matrix`,
    code: /* wgsl */ `${matrixEnables}
${attentionParams.wgsl}
${matrixTileConstants(headDim)}
const NOTHING = -1e30;          // below every score; never goes through exp against a real maximum
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4i>;             // first token, count, slot, past
@group(0) @binding(2) var<storage, read> qkv: array<vec4f>;              // [T, H + 2G, D]
${bindings[pass]}
${pass === "keys" ? "var<workgroup> known: array<vec4f, 32>;   // of the queries: logarithms of sums, pulls" : ""}
${tilePlace}
fn octetOf(head: u32, first: u32, count: u32, token: u32, c: u32) -> vec4u {
  let at = ((first + min(token, count - 1u)) * (p.heads + 2u * p.kvHeads) + head) * D4 + 2u * c;
  return select(vec4u(), halves(qkv[at], qkv[at + 1u]), token < count);
}
${
  pass === "forward"
    ? ""
    : `
fn upOf(head: u32, first: u32, count: u32, token: u32, c: u32) -> vec4u {
  let at = ((first + min(token, count - 1u)) * p.heads + head) * D4 + 2u * c;
  return select(vec4u(), halves(dOut[at], dOut[at + 1u]), token < count);
}`
}

${matrixTileEntry}
  let owner = group.x;                                // a head
  let place = tilePlace(group.z * groups.y + group.y, p.rows);
  if (place.x >= p.rows) { return; }
  let row = rows[place.x];
  let rowEnd = u32(row.x + row.y);
  let first = u32(row.x) + place.y;                   // of the tile that stays
  let count = min(TILE, rowEnd - first);
${matrixTileSetup}
${body}
}`,
  };
}

const columns = (quad: string): string => `(vec4u(start + 4u * ${quad}) + vec4u(0u, 1u, 2u, 3u))`;

/** Whether this lane's query sees the keys of a quad. */
const seesKeys = (quad: string): string =>
  `(${columns(quad)} <= vec4u(position)) & (${columns(quad)} + vec4u(p.window) > vec4u(position))`;

const queryHeads = `
  let kvHead = owner / (p.heads / p.kvHeads);
  let keyHead = p.heads + kvHead;
  let valueHead = keyHead + p.kvHeads;
  let oldest = u32(max(row.x, i32(first) - i32(p.window) + 1));
  let end = first + count;
  let position = first + mine;`;

function forward(fragments: number): string {
  const keys: Octet = (line, c) => `octetOf(keyHead, start, passing, ${line}, ${c})`;
  const values: Octet = (line, c) => `octetOf(valueHead, start, passing, ${line}, ${c})`;
  return `${queryHeads}
${stage(fragments, (line, c) => `octetOf(owner, first, count, ${line}, ${c})`)}
  workgroupBarrier();
${owned("q", 0, fragments)}
  var best = NOTHING;
  var sum = 0.0;
  for (var start = oldest; start < end; start += TILE) {
    let passing = min(TILE, end - start);
    workgroupBarrier();
${stage(fragments, keys)}
    workgroupBarrier();
${dots("q", 0, fragments)}
${readSums("s")}
${quads((i, quad) => `    let sees${i} = ${seesKeys(quad)};\n    s${i} = select(vec4f(NOTHING), p.scale * s${i}, sees${i});`)}
    let most = ${range(7).reduce((text, i) => `max(${text}, s${i + 1})`, "s0")};
    let next = max(best, max(max(most.x, most.y), max(most.z, most.w)));
    var sums = vec4f();
${quads((i) => `    sums += select(vec4f(), exp(s${i} - vec4f(next)), sees${i});`)}
    sum = sum * exp(best - next) + dot(sums, vec4f(1.0));
    best = next;
  }
  let otherBest = subgroupShuffleXor(best, 1u);
  let otherSum = subgroupShuffleXor(sum, 1u);
  let top = max(best, otherBest);
  let logSum = top + log(sum * exp(best - top) + otherSum * exp(otherBest - top));
  if (half == 0u && mine < count) { logSums[position * p.heads + owner] = logSum; }
${declareResults("o", fragments)}
  for (var start = oldest; start < end; start += TILE) {
    let passing = min(TILE, end - start);
    workgroupBarrier();
${stage(fragments, keys, values)}
    workgroupBarrier();
${dots("q", 0, fragments)}
${readSums("s")}
${quads((i, quad) => `    s${i} = select(vec4f(), exp(p.scale * s${i} - vec4f(logSum)), ${seesKeys(quad)});`)}
${writeHalves("s")}
${add("o", 1, fragments)}
  }
${storeResults("o", fragments, (quad, value) => `out[(position * p.heads + owner) * D4 + ${quad}] = ${value};`)}`;
}

function queries(fragments: number): string {
  return `${queryHeads}
${stage(
  fragments,
  (line, c) => `octetOf(owner, first, count, ${line}, ${c})`,
  (line, c) => `upOf(owner, first, count, ${line}, ${c})`,
)}
  workgroupBarrier();
${owned("q", 0, fragments)}
${owned("up", 1, fragments)}
  var pull = 0.0;
  var logSum = 0.0;
  if (mine < count) {
    logSum = logSums[position * p.heads + owner];
    let line = (position * p.heads + owner) * D4;
    for (var c = half; c < D4; c += 2u) { pull += dot(dOut[line + c], out[line + c]); }
  }
  pull += subgroupShuffleXor(pull, 1u);
  if (half == 0u && mine < count) { pulls[position * p.heads + owner] = pull; }
${declareResults("dq", fragments)}
  for (var start = oldest; start < end; start += TILE) {
    let passing = min(TILE, end - start);
    workgroupBarrier();
${stage(
  fragments,
  (line, c) => `octetOf(keyHead, start, passing, ${line}, ${c})`,
  (line, c) => `octetOf(valueHead, start, passing, ${line}, ${c})`,
)}
    workgroupBarrier();
${dots("q", 0, fragments)}
${readSums("s")}
${quads((i, quad) => `    s${i} = select(vec4f(), p.scale * exp(p.scale * s${i} - vec4f(logSum)), ${seesKeys(quad)});`)}
    workgroupBarrier();
${dots("up", 1, fragments)}
${readSums("w")}
${quads((i) => `    s${i} *= w${i} - vec4f(pull);`)}
${writeHalves("s")}
${add("dq", 0, fragments)}
  }
${storeResults("dq", fragments, (quad, value) => `dQkv[(position * (p.heads + 2u * p.kvHeads) + owner) * D4 + ${quad}] = ${value};`)}`;
}

function keys(fragments: number): string {
  const seesKey = (quad: string) =>
    `(${columns(quad)} < vec4u(end)) & (${columns(quad)} >= vec4u(position)) & (${columns(quad)} < vec4u(position + p.window))`;
  return `
  let keyHead = p.heads + owner;
  let valueHead = keyHead + p.kvHeads;
  let perGroup = p.heads / p.kvHeads;
  let end = min(rowEnd, first + count - 1u + p.window);
  let position = first + mine;
${stage(
  fragments,
  (line, c) => `octetOf(keyHead, first, count, ${line}, ${c})`,
  (line, c) => `octetOf(valueHead, first, count, ${line}, ${c})`,
)}
  workgroupBarrier();
${owned("k", 0, fragments)}
${owned("v", 1, fragments)}
${declareResults("dk", fragments)}
${declareResults("dv", fragments)}
  for (var head = owner * perGroup; head < (owner + 1u) * perGroup; head++) {
    for (var start = first; start < end; start += TILE) {
    let passing = min(TILE, end - start);
    workgroupBarrier();
${stage(
  fragments,
  (line, c) => `octetOf(head, start, passing, ${line}, ${c})`,
  (line, c) => `upOf(head, start, passing, ${line}, ${c})`,
)}
    if (thread < 32u) {
      var four = vec4f();
      for (var j = 0u; j < 4u; j++) {
        let query = 4u * (thread % 16u) + j;
        if (query < passing) {
          let at = (start + query) * p.heads + head;
          if (thread < 16u) { four[j] = logSums[at]; } else { four[j] = pulls[at]; }
        }
      }
      known[thread] = four;
    }
    workgroupBarrier();
${dots("k", 0, fragments)}
${readSums("s")}
${quads((i, quad) => `    s${i} = select(vec4f(), exp(p.scale * s${i} - known[${quad}]), ${seesKey(quad)});`)}
${writeHalves("s")}
${add("dv", 1, fragments)}
${dots("v", 1, fragments)}
${readSums("w")}
${quads((i, quad) => `    w${i} = p.scale * s${i} * (w${i} - known[16u + ${quad}]);`)}
${writeHalves("w")}
${add("dk", 0, fragments)}
    }
  }
${storeResults("dk", fragments, (quad, value) => `dQkv[(position * (p.heads + 2u * p.kvHeads) + keyHead) * D4 + ${quad}] = ${value};`)}
${storeResults("dv", fragments, (quad, value) => `dQkv[(position * (p.heads + 2u * p.kvHeads) + valueHead) * D4 + ${quad}] = ${value};`)}`;
}
