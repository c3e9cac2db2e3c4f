/**
 * WebGPU kernels of attention over pages: `prefill` (a tile of queries), `decode` (one query, a share of the context),
 * `combine` (the shares of a decode step).
 *
 * Loads from cache pages are four adjacent channels (`Kv4`), neighbours of a warp next to each other. All loops around
 * barriers have bounds from read-only buffers at indices of the workgroup, so control flow is uniform.
 */
import type { WebGpuKernel } from "../../device/webgpu/kernel.js";
import { params } from "../../device/webgpu/params.js";
import { QUERY_TILE } from "../step/layout.js";
import { PAGE_TOKENS } from "./kv-pages.js";
import { type KvStore, kvLoad, kvStores } from "./kv-pages.wgsl.js";

export interface PrefillVariant {
  readonly store: KvStore;
  readonly headDim: number;
  /** Several segments: sums are carried from launch to launch in `out` and `state`. */
  readonly carry: boolean;
}

export const prefillParams = params({
  heads: "u32",
  kvHeads: "u32",
  pagesPerSlot: "u32",
  firstPage: "i32",
  pages: "i32",
  /** Positions that a token sees, itself included. */
  window: "i32",
  scale: "f32",
  isFirst: "u32",
  isLast: "u32",
});

/**
 * Buffers: qkv, keys, values, pageTable, rows, tiles, out, and `state` [T, H] (maximum, sum) where sums are carried.
 * Grid: [tiles, H].
 *
 * Thread (ty, tx) scores queries 4·ty … 4·ty + 3 against keys tx and tx + 16 of a block of 32, and accumulates the four
 * channels tx, tx + 16, … (in units of vec4) of the same four queries, so scores, maxima and sums never change hands; only
 * the probabilities do. Workgroup memory stays under 16 KiB at any head size, because q and k pass in pieces of 32 channels.
 */
export function prefillKernel(v: PrefillVariant): WebGpuKernel {
  // acc0, acc1, …: written out instead of indexed, so that compilers keep them in registers.
  const parts = Array.from({ length: Math.ceil(v.headDim / 64) }, (_, n) => n);
  return {
    label: `attention prefill ${v.store} D=${v.headDim}${v.carry ? " carry" : ""}`,
    code: /* wgsl */ `
const D4 = ${v.headDim / 4}u;                 // vec4 of a head
const QUERIES = ${QUERY_TILE}u;
const KEYS = 32u;                 // keys of a block: half a page
const PAGE = ${PAGE_TOKENS}u;
const PIECE = 8u;                 // vec4 of q and k that are staged at a time
const LINE = 9u;                  // one more, so that the sixteen readers of a column hit different banks
const NOTHING = -1e30;            // below every score; never goes through exp against a real maximum
${prefillParams.wgsl}
${kvLoad[v.store]}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;        // [T, H + 2G, D]
@group(0) @binding(2) var<storage, read> keys: array<Kv4>;         // [pages, G, PAGE, D]
@group(0) @binding(3) var<storage, read> values: array<Kv4>;
@group(0) @binding(4) var<storage, read> pageTable: array<i32>;    // [slots, pagesPerSlot]
@group(0) @binding(5) var<storage, read> rows: array<vec4i>;       // first token, count, slot, past
@group(0) @binding(6) var<storage, read> tiles: array<vec2i>;      // row, first token
@group(0) @binding(7) var<storage, read_write> out: array<vec4f>;  // [T, H, D]
${v.carry ? "@group(0) @binding(8) var<storage, read_write> state: array<vec2f>;  // [T, H]: maximum, sum" : ""}

var<workgroup> qPiece: array<vec4f, QUERIES * LINE>;
var<workgroup> kPiece: array<vec4f, KEYS * LINE>;
var<workgroup> probabilities: array<vec4f, KEYS * LINE>;   // [key, ty]: of four queries
var<workgroup> exchange: array<vec4f, 128>;                // [ty, tx]

${
  v.carry
    ? `
fn carried(first: u32, count: u32, query: u32, head: u32) -> vec2f {
  if (query >= count) { return vec2f(NOTHING, 0.0); }
  return state[(first + query) * p.heads + head];
}
fn unfinished(first: u32, count: u32, query: u32, head: u32, c: u32) -> vec4f {
  if (query >= count || c >= D4) { return vec4f(0.0); }
  return out[((first + query) * p.heads + head) * D4 + c];
}`
    : ""
}
fn finish(first: u32, count: u32, query: u32, head: u32, c: u32, value: vec4f) {
  if (query < count && c < D4) { out[((first + query) * p.heads + head) * D4 + c] = value; }
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let ty = lane / 16u;
  let tx = lane % 16u;
  let tile = tiles[group.x];
  let row = rows[tile.x];
  let head = group.y;
  let kvHead = head / (p.heads / p.kvHeads);
  let columns = p.heads + 2u * p.kvHeads;
  let first = u32(tile.y);
  let count = min(QUERIES, u32(row.x + row.y) - first);
  let position = row.w + tile.y - row.x;               // of the tile's first query
  let lastPosition = position + i32(count) - 1;
  var blockStart = max(position - p.window + 1, 0) / i32(KEYS) * i32(KEYS);
  if (row.z < 0) { blockStart = lastPosition + 1; }    // a dead row sees nothing: the loop stays empty

  var best = vec4f(NOTHING);    // running maximum of the four queries; the same in all sixteen threads of ty
  var sum = vec4f(0.0);         // of the probabilities of this thread's keys
  // Column i is query 4 · ty + i, rows are the channels of vec4 tx + 16 · n.
${parts.map((n) => `  var acc${n} = mat4x4f();`).join("\n")}
${
  v.carry
    ? `
  if (p.isFirst == 0u) {
    let s0 = carried(first, count, ty * 4u, head);
    let s1 = carried(first, count, ty * 4u + 1u, head);
    let s2 = carried(first, count, ty * 4u + 2u, head);
    let s3 = carried(first, count, ty * 4u + 3u, head);
    best = vec4f(s0.x, s1.x, s2.x, s3.x);
    sum = select(vec4f(0.0), vec4f(s0.y, s1.y, s2.y, s3.y), tx == 0u);
${parts
  .map(
    (n) => `
    acc${n} = mat4x4f(
      unfinished(first, count, ty * 4u, head, tx + ${16 * n}u),
      unfinished(first, count, ty * 4u + 1u, head, tx + ${16 * n}u),
      unfinished(first, count, ty * 4u + 2u, head, tx + ${16 * n}u),
      unfinished(first, count, ty * 4u + 3u, head, tx + ${16 * n}u),
    );`,
  )
  .join("")}
  }`
    : ""
}

  for (; blockStart <= lastPosition; blockStart += i32(KEYS)) {
    let start = u32(blockStart);
    let page = pageTable[u32(row.z) * p.pagesPerSlot + start / PAGE] - p.firstPage;
    if (page < 0 || page >= p.pages) { continue; }     // in another segment
    let pageRow = (u32(page) * p.kvHeads + kvHead) * PAGE + start % PAGE;

    var score0 = vec4f(0.0);   // of key tx and the four queries
    var score1 = vec4f(0.0);   // of key tx + 16
    for (var piece = 0u; piece < D4; piece += PIECE) {
      for (var i = lane; i < QUERIES * PIECE; i += 128u) {
        let query = i / PIECE;
        let c = piece + i % PIECE;
        var q = vec4f(0.0);
        if (query < count && c < D4) { q = qkv[((first + query) * columns + head) * D4 + c] * p.scale; }
        qPiece[query * LINE + i % PIECE] = q;
      }
      for (var i = lane; i < KEYS * PIECE; i += 128u) {
        let key = i / PIECE;
        let c = piece + i % PIECE;
        var k = vec4f(0.0);
        if (c < D4) { k = widen(keys[(pageRow + key) * D4 + c]); }
        kPiece[key * LINE + i % PIECE] = k;
      }
      workgroupBarrier();
      for (var c = 0u; c < min(PIECE, D4 - piece); c++) {
        let k0 = kPiece[tx * LINE + c];
        let k1 = kPiece[(tx + 16u) * LINE + c];
        let q0 = qPiece[(ty * 4u) * LINE + c];
        let q1 = qPiece[(ty * 4u + 1u) * LINE + c];
        let q2 = qPiece[(ty * 4u + 2u) * LINE + c];
        let q3 = qPiece[(ty * 4u + 3u) * LINE + c];
        score0 += vec4f(dot(q0, k0), dot(q1, k0), dot(q2, k0), dot(q3, k0));
        score1 += vec4f(dot(q0, k1), dot(q1, k1), dot(q2, k1), dot(q3, k1));
      }
      workgroupBarrier();
    }

    // Which of the keys each query sees; hidden ones count nowhere, whatever the page holds there.
    let queryPosition = vec4i(position + i32(ty) * 4) + vec4i(0, 1, 2, 3);
    let key0 = vec4i(blockStart + i32(tx));
    let key1 = key0 + 16;
    let visible0 = (key0 <= queryPosition) & (key0 > queryPosition - p.window);
    let visible1 = (key1 <= queryPosition) & (key1 > queryPosition - p.window);
    exchange[lane] = max(select(vec4f(NOTHING), score0, visible0), select(vec4f(NOTHING), score1, visible1));
    workgroupBarrier();
    var next = best;
    for (var i = 0u; i < 16u; i++) { next = max(next, exchange[ty * 16u + i]); }
    let shrink = exp(best - next);
    best = next;
    let p0 = select(vec4f(0.0), exp(score0 - best), visible0);
    let p1 = select(vec4f(0.0), exp(score1 - best), visible1);
    sum = sum * shrink + p0 + p1;
    probabilities[tx * LINE + ty] = p0;
    probabilities[(tx + 16u) * LINE + ty] = p1;
    workgroupBarrier();

${parts
  .map(
    (n) =>
      `    acc${n} = mat4x4f(acc${n}[0] * shrink.x, acc${n}[1] * shrink.y, acc${n}[2] * shrink.z, acc${n}[3] * shrink.w);`,
  )
  .join("\n")}
    // Only keys that some query of the tile sees: what else the page holds may be anything, and 0 · NaN is NaN.
    let firstKey = u32(max(position - p.window + 1 - blockStart, 0));
    let endKey = u32(min(lastPosition + 1 - blockStart, i32(KEYS)));
    for (var key = firstKey; key < endKey; key++) {
      let weight = probabilities[key * LINE + ty];
${parts
  .map(
    (n) => `
      if (tx + ${16 * n}u < D4) {
        let value = widen(values[(pageRow + key) * D4 + tx + ${16 * n}u]);
        acc${n} += mat4x4f(value * weight.x, value * weight.y, value * weight.z, value * weight.w);
      }`,
  )
  .join("")}
    }
  }

  // The loop's last read of exchange lies before a barrier, so it can be written again.
  exchange[lane] = sum;
  workgroupBarrier();
  var total = vec4f(0.0);
  for (var i = 0u; i < 16u; i++) { total += exchange[ty * 16u + i]; }
  var factor = select(vec4f(0.0), 1.0 / total, total > vec4f(0.0));
${v.carry ? "  if (p.isLast == 0u) { factor = vec4f(1.0); }" : ""}
${
  v.carry
    ? `
  for (var i = 0u; i < 4u; i++) {
    let query = ty * 4u + i;
    if (tx == 0u && query < count) { state[(first + query) * p.heads + head] = vec2f(best[i], total[i]); }
  }`
    : ""
}
${parts
  .flatMap((n) =>
    [0, 1, 2, 3].map(
      (i) => `  finish(first, count, ty * 4u + ${i}u, head, tx + ${16 * n}u, acc${n}[${i}] * factor[${i}]);`,
    ),
  )
  .join("\n")}
}`,
  };
}

export interface DecodeVariant {
  readonly store: KvStore;
  readonly headDim: number;
  /** Query heads of one key/value head that a workgroup takes together: a divisor of H / G. */
  readonly group: number;
  /** The context is shared out: results are parts for `combine`. */
  readonly split: boolean;
}

export const decodeParams = params({
  tokens: "u32",
  heads: "u32",
  kvHeads: "u32",
  pagesPerSlot: "u32",
  firstPage: "i32",
  pages: "i32",
  window: "i32",
  splits: "u32",
  /** Where this launch's parts begin. */
  firstPart: "u32",
  scale: "f32",
});

/** The most query heads that fit a workgroup's 16 KiB; more are taken in several workgroups that share keys by the cache. */
export function decodeGroup(headDim: number, headsPerKvHead: number): number {
  let group = Math.min(headsPerKvHead, headDim > 128 ? 4 : 8);
  while (headsPerKvHead % group !== 0) group -= 1;
  return group;
}

/**
 * Buffers: qkv, keys, values, pageTable, tokens, out; where the context is shared out, `out` holds parts [part, T, H, D],
 * not divided by their sums, and `stats` [part, T, H] (maximum, sum) follows. Grid: [H / group, T, splits].
 *
 * A page of 64 keys at a time: four threads a key form partial products for all heads of the group; then a thread for each
 * (head, lane) makes the probabilities of its keys with a maximum of its own; then thread (lane, c) adds up channels c of
 * keys lane, lane + LANES, …. The lanes' maxima meet only once, at the end.
 */
export function decodeKernel(v: DecodeVariant): WebGpuKernel {
  const lanes = Math.min(16, Math.floor(256 / (v.headDim / 4)));
  const scratch = Math.max(v.group * PAGE_TOKENS * 4, lanes * v.headDim);
  return {
    label: `attention decode ${v.store} D=${v.headDim} group=${v.group}${v.split ? " split" : ""}`,
    code: /* wgsl */ `
const D4 = ${v.headDim / 4}u;
const GROUP = ${v.group}u;
const LANES = ${lanes}u;
const PAGE = ${PAGE_TOKENS}u;
const NOTHING = -1e30;
${decodeParams.wgsl}
${kvLoad[v.store]}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;        // [T, H + 2G, D]
@group(0) @binding(2) var<storage, read> keys: array<Kv4>;         // [pages, G, PAGE, D]
@group(0) @binding(3) var<storage, read> values: array<Kv4>;
@group(0) @binding(4) var<storage, read> pageTable: array<i32>;    // [slots, pagesPerSlot]
@group(0) @binding(5) var<storage, read> tokens: array<vec4i>;     // id, position, row, slot
@group(0) @binding(6) var<storage, read_write> out: array<vec4f>;
${v.split ? "@group(0) @binding(7) var<storage, read_write> stats: array<vec2f>;" : ""}

var<workgroup> q: array<vec4f, GROUP * D4>;
var<workgroup> scratch: array<f32, ${scratch}>;            // [head, key, 4] partial products; at the end [lane, D]
var<workgroup> probabilities: array<f32, GROUP * PAGE>;    // [head, key]
var<workgroup> shrink: array<f32, GROUP * LANES>;          // [head, lane]; at the end the weight of a lane
var<workgroup> laneBest: array<f32, GROUP * LANES>;
var<workgroup> laneSum: array<f32, GROUP * LANES>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let token = group.y;
  let firstHead = group.x * GROUP;
  let kvHead = firstHead / (p.heads / p.kvHeads);
  let columns = p.heads + 2u * p.kvHeads;
  let word = tokens[token];
  let position = word.y;
  let firstPosition = max(position - p.window + 1, 0);

  // This split's share of the pages, from the true length.
  let firstPage = firstPosition / i32(PAGE);
  let pageCount = position / i32(PAGE) + 1 - firstPage;
  let share = (pageCount + i32(p.splits) - 1) / i32(p.splits);
  let begin = firstPage + i32(group.z) * share;
  var end = min(begin + share, firstPage + pageCount);
  if (word.w < 0) { end = begin; }

  for (var i = thread; i < GROUP * D4; i += 256u) {
    q[i] = qkv[(token * columns + firstHead) * D4 + i] * p.scale;
  }
  workgroupBarrier();

  let lane = thread / D4;         // of the value sums; threads beyond the last lane sit out
  let c = thread % D4;
  var acc: array<vec4f, GROUP>;
  var best = NOTHING;             // of (head, lane) = thread, where there is one
  var sum = 0.0;

  for (var index = begin; index < end; index++) {
    let page = pageTable[u32(word.w) * p.pagesPerSlot + u32(index)] - p.firstPage;
    if (page < 0 || page >= p.pages) { continue; }     // in another segment
    let pageRow = (u32(page) * p.kvHeads + kvHead) * PAGE;
    let firstKey = u32(max(firstPosition - index * i32(PAGE), 0));
    let endKey = u32(min(position + 1 - index * i32(PAGE), i32(PAGE)));

    let key = thread / 4u;
    // Zeroed by hand: SwiftShader does not zero a bare variable again when its loop comes round.
    var products = array<f32, GROUP>();
    if (key >= firstKey && key < endKey) {
      for (var i = thread % 4u; i < D4; i += 4u) {
        let k = widen(keys[(pageRow + key) * D4 + i]);
        for (var h = 0u; h < GROUP; h++) { products[h] += dot(q[h * D4 + i], k); }
      }
    }
    for (var h = 0u; h < GROUP; h++) { scratch[h * 256u + thread] = products[h]; }
    workgroupBarrier();

    if (thread < GROUP * LANES) {
      let base = thread / LANES * PAGE;
      var next = best;
      for (var i = thread % LANES; i < PAGE; i += LANES) {
        let at = (base + i) * 4u;
        let score = scratch[at] + scratch[at + 1u] + scratch[at + 2u] + scratch[at + 3u];
        probabilities[base + i] = score;
        if (i >= firstKey && i < endKey) { next = max(next, score); }
      }
      let factor = exp(best - next);
      shrink[thread] = factor;
      sum *= factor;
      best = next;
      for (var i = thread % LANES; i < PAGE; i += LANES) {
        if (i >= firstKey && i < endKey) {
          let probability = exp(probabilities[base + i] - best);
          probabilities[base + i] = probability;
          sum += probability;
        }
      }
    }
    workgroupBarrier();

    if (lane < LANES) {
      for (var h = 0u; h < GROUP; h++) { acc[h] *= shrink[h * LANES + lane]; }
      for (var i = lane; i < endKey; i += LANES) {
        if (i < firstKey) { continue; }
        let value = widen(values[(pageRow + i) * D4 + c]);
        for (var h = 0u; h < GROUP; h++) { acc[h] += probabilities[h * PAGE + i] * value; }
      }
    }
    // The next page's products may overwrite scratch at once (read before the last barrier); probabilities and shrink
    // are written after one more.
  }

  // The lanes' sums, brought to a joint maximum.
  if (thread < GROUP * LANES) {
    laneBest[thread] = best;
    laneSum[thread] = sum;
  }
  workgroupBarrier();
  if (thread < GROUP * LANES) {
    var joint = NOTHING;
    for (var i = 0u; i < LANES; i++) { joint = max(joint, laneBest[thread / LANES * LANES + i]); }
    shrink[thread] = exp(best - joint);
  }
  workgroupBarrier();
  for (var h = 0u; h < GROUP; h++) {
    if (lane < LANES) {
      let weighted = acc[h] * shrink[h * LANES + lane];
      for (var i = 0u; i < 4u; i++) { scratch[(lane * D4 + c) * 4u + i] = weighted[i]; }
    }
    workgroupBarrier();
    var total = 0.0;
    var joint = NOTHING;
    for (var i = 0u; i < LANES; i++) {
      total += laneSum[h * LANES + i] * shrink[h * LANES + i];
      joint = max(joint, laneBest[h * LANES + i]);
    }
    let at = token * p.heads + firstHead + h;
    if (thread < D4) {
      var result = vec4f(0.0);
      for (var i = 0u; i < LANES; i++) {
        let source = (i * D4 + thread) * 4u;
        result += vec4f(scratch[source], scratch[source + 1u], scratch[source + 2u], scratch[source + 3u]);
      }
${
  v.split
    ? `
      let part = (p.firstPart + group.z) * p.tokens * p.heads + at;
      out[part * D4 + thread] = result;
      if (thread == 0u) { stats[part] = vec2f(joint, total); }`
    : `
      out[at * D4 + thread] = result * select(0.0, 1.0 / total, total > 0.0);`
}
    }
    workgroupBarrier();
  }
}`,
  };
}

export const combineParams = params({ results: "u32", parts: "u32", headDim4: "u32" });

/** Buffers: parts [part, T·H, D], stats [part, T·H], out [T·H, D]. A thread each vec4 of the result; 64 a workgroup. */
export const combineKernel: WebGpuKernel = {
  label: "attention combine",
  code: /* wgsl */ `
${combineParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec4f>;
@group(0) @binding(2) var<storage, read> stats: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32,
) {
  let index = (group.x + group.y * groups.x) * 64u + lane;
  if (index >= p.results * p.headDim4) { return; }
  let result = index / p.headDim4;
  var best = -1e30;
  for (var i = 0u; i < p.parts; i++) { best = max(best, stats[i * p.results + result].x); }
  var total = 0.0;
  var acc = vec4f(0.0);
  for (var i = 0u; i < p.parts; i++) {
    let part = stats[i * p.results + result];
    if (part.y > 0.0) {           // an empty part has no maximum to compare
      let weight = exp(part.x - best);
      total += weight * part.y;
      acc += weight * parts[(i * p.results + result) * p.headDim4 + index % p.headDim4];
    }
  }
  out[index] = acc * select(0.0, 1.0 / total, total > 0.0);
}`,
};

/** Every storage type and form, at head sizes and groups that stand for all: smallest, odd multiples, those at the memory limit. */
export function attentionVariants(): WebGpuKernel[] {
  const kernels = [combineKernel];
  for (const store of kvStores) {
    for (const flag of [false, true]) {
      for (const headDim of [8, 24, 64, 80, 128, 256]) {
        kernels.push(prefillKernel({ store, headDim, carry: flag }));
        for (const heads of [1, 3, 8]) {
          kernels.push(decodeKernel({ store, headDim, group: decodeGroup(headDim, heads), split: flag }));
        }
      }
    }
  }
  return kernels;
}
