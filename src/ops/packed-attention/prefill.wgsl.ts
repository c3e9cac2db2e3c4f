/**
 * WebGPU kernel of prompt attention over a packed cache: a tile of 32 queries of a row, a head, against blocks of 32 keys.
 *
 * Blocks come from the packed pages, then from the side store, then from the step's own tokens; what a key's number, place
 * and rule of visibility are is worked out once a block. Keys and values are taken apart on their way into workgroup memory,
 * so that 32 queries share the work. The mean split's terms are further channels of a packed key: q's are (A, B), the key's
 * (cos pθ, sin pθ).
 *
 * Thread (ty, tx) scores queries 4·ty … 4·ty + 3 against keys tx and tx + 16, and adds up the channels tx, tx + 16, … (in
 * units of vec4) of the same queries, as prompt attention over plain pages does.
 */
import type { WebGpuKernel } from "../../device/webgpu/kernel.js";
import { params } from "../../device/webgpu/params.js";
import { PACKED_PAGE_TOKENS, type PackedFormat } from "../packed-kv/format.js";
import { LOW_POSITIONS } from "../rope/rope.js";
import { QUERY_TILE } from "../step/layout.js";
import { elementsWgsl } from "./elements.wgsl.js";
import { partWidth } from "./lanes.js";
import { packedEndWgsl } from "./packed-end.wgsl.js";

export interface PrefillVariant {
  readonly format: PackedFormat;
  readonly skips: boolean;
  /** There is a side store. */
  readonly side: boolean;
  /** Several launches: sums are carried from one to the next, in `out` as one part for `combine` [T, H, PART]. */
  readonly carry: boolean;
}

export const prefillParams = params({
  heads: "u32",
  pagesPerSlot: "u32",
  firstPage: "i32",
  pages: "i32",
  window: "i32",
  scale: "f32",
  tableWidth: "u32",
  rotaryDim: "u32",
  highLines: "u32",
  /** Token slots of this launch: fromSlot … toSlot − 1. */
  fromSlot: "i32",
  toSlot: "i32",
  /** ropeAtRead: token slots of a row in `keys`. */
  restored: "i32",
  /** The side store and the step's own tokens are this launch's. */
  hasNear: "u32",
  isFirst: "u32",
});

/**
 * Buffers: qkv, keys (with ropeAtRead: restored ones, f32 [R, restored, G, D]), values, pageTable, rows, tiles, cuts, out, then
 * as the variant has them: `side`, `markedTokens`; `blocks` or `skips`; `meanTerms`, the rotary table, `pairs`.
 * Grid: [tiles, H].
 */
export function prefillKernel(v: PrefillVariant): WebGpuKernel {
  const { format } = v;
  const { headDim, kvHeads, meanPairs, ropeAtRead, strictPrefill, marked } = format;
  const byChannel = format.keys.layout === "channel";
  // acc0, acc1, …: written out instead of indexed, so that compilers keep them in registers.
  const parts = Array.from({ length: Math.ceil(headDim / 64) }, (_, n) => n);
  let binding = 8;
  const optional = (present: boolean, name: string, type: string) => {
    if (!present) return "";
    binding += 1;
    return `@group(0) @binding(${binding}) var<storage, read> ${name}: array<${type}>;`;
  };
  const rows = [0, 1, 2, 3];
  return {
    label: `packed attention prefill D=${headDim}${ropeAtRead ? " restored" : ""}${v.carry ? " carry" : ""}`,
    code: /* wgsl */ `
const D = ${headDim}u;
const D4 = ${headDim / 4}u;
const LINE4 = ${v.carry ? partWidth(headDim) / 4 : headDim / 4}u;   // vec4 of a head's line of out
const MEAN4 = ${Math.ceil(meanPairs / 2)}u;   // vec4 of the mean split's terms
const PAIRS = ${meanPairs}u;
const G = ${kvHeads}u;
const QUERIES = ${QUERY_TILE}u;
const KEYS = 32u;                 // keys of a block
const PAGE = ${PACKED_PAGE_TOKENS}u;
const LOW = ${LOW_POSITIONS}u;
const PIECE = 8u;                 // vec4 of q and k that are staged at a time
const LINE = 9u;                  // one more, so that the sixteen readers of a column hit different banks
const VALUE_LINE = 17u;
const NOTHING = -1e30;            // below every score; never goes through exp against a real maximum
// When a key counts: where packed pages give it to the query, where they do not, always.
const BELOW = 0;
const ABOVE = 1;
const ALWAYS = 2;
const NOWHERE = -1;               // position of what is no key
${prefillParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;        // [T, H + 2G, D]
@group(0) @binding(2) var<storage, read> keys: array<${ropeAtRead ? "vec4f" : "u32"}>;
@group(0) @binding(3) var<storage, read> values: array<u32>;
@group(0) @binding(4) var<storage, read> pageTable: array<i32>;    // [slots, pagesPerSlot]
@group(0) @binding(5) var<storage, read> rows: array<vec4i>;       // first token, count, slot, past
@group(0) @binding(6) var<storage, read> tiles: array<vec2i>;      // row, first token
@group(0) @binding(7) var<storage, read> cuts: array<vec2i>;       // [slots]: floor, shift
@group(0) @binding(8) var<storage, read_write> out: array<vec4f>;  // [T, H, D]
${optional(v.side, "side", "vec2u")}
${optional(v.side && marked > 0, "markedTokens", "i32")}
${optional(byChannel, "blocks", "vec2i")}
${optional(v.skips, "skips", "u32")}
${optional(meanPairs > 0, "meanTerms", "vec2f")}
${optional(meanPairs > 0, "table", "f32")}
${optional(meanPairs > 0, "pairs", "i32")}

var<workgroup> piece: array<vec4f, 2u * KEYS * LINE>;      // queries, then keys; later values
var<workgroup> probabilities: array<vec4f, KEYS * LINE>;   // [key, ty]: of four queries
var<workgroup> exchange: array<vec4f, 128>;                // [ty, tx]
var<workgroup> info: array<vec2i, KEYS>;                   // position, when it counts

${packedEndWgsl(format)}
const ENTRIES = ${v.side ? "SINKS + RING + MARKED" : "0"};
${ropeAtRead ? "" : elementsWgsl("key", "keys", format.keys, kvHeads, headDim)}
${elementsWgsl("value", "values", format.values, kvHeads, headDim)}
${
  v.skips
    ? `fn isSkipped(slot: u32, token: i32) -> bool {
  return ((skips[slot * p.tableWidth + u32(token) / 32u] >> (u32(token) % 32u)) & 1u) == 1u;
}`
    : "fn isSkipped(slot: u32, token: i32) -> bool { return false; }"
}
${
  v.side
    ? `
fn entry(slot: u32, i: u32, which: u32, kvHead: u32, c: u32) -> vec4f {
  let halves = side[(((slot * u32(ENTRIES) + i) * 2u + which) * G + kvHead) * D4 + c];
  return vec4f(unpack2x16float(halves.x), unpack2x16float(halves.y));
}`
    : ""
}
${
  meanPairs > 0
    ? `
fn rotation(position: u32, pair: u32) -> vec2f {
  let pairCount = p.rotaryDim / 2u;
  let low = (position % LOW) * p.rotaryDim + pair;
  let high = (LOW + min(position / LOW, p.highLines - 1u)) * p.rotaryDim + pair;
  let l = vec2f(table[low], table[low + pairCount]);
  let h = vec2f(table[high], table[high + pairCount]);
  return vec2f(l.x * h.x - l.y * h.y, l.y * h.x + l.x * h.y);
}
fn keyTerms(position: i32, kvHead: u32, m: u32) -> vec2f {
  if (m >= PAIRS || position < 0) { return vec2f(0.0); }
  return rotation(u32(position), u32(pairs[kvHead * PAIRS + m]));
}
fn queryTerms(token: u32, head: u32, m: u32) -> vec2f {
  if (m >= PAIRS) { return vec2f(0.0); }
  return meanTerms[(token * p.heads + head) * PAIRS + m];
}`
    : ""
}
/** Position of key i of a packed block that begins at token slot \`start\`. */
fn packedPosition(slot: u32, start: u32, i: u32, slotsEnd: i32) -> i32 {
  let at = start + i;
  if (i32(at) >= min(slotsEnd, p.toSlot)) { return NOWHERE; }
${
  byChannel
    ? `  let block = blocks[slot * p.tableWidth + at / ${format.keys.group}u];
  let within = i32(at % ${format.keys.group}u);
  return select(NOWHERE, block.x + within, within < block.y);`
    : `  return select(i32(at), NOWHERE, i32(at) < SINKS || isSkipped(slot, i32(at)));`
}
}
/** Position of side entry i, and when it counts. */
fn sideInfo(slot: u32, i: i32, past: i32, end: i32) -> vec2i {
  if (i >= ENTRIES) { return vec2i(NOWHERE, ALWAYS); }
  if (i < SINKS) { return vec2i(select(NOWHERE, i, i < past), ALWAYS); }
${
  v.side && marked > 0
    ? `
  if (i >= SINKS + RING) {
    let token = markedTokens[i32(slot) * MARKED + i - SINKS - RING];
    return vec2i(select(NOWHERE, token, token >= SINKS && token < past), BELOW);
  }`
    : ""
}
  // The newest token that this entry of the ring can hold.
  let age = (past - 1 - (i - SINKS) + RING) % max(RING, 1);
  let held = past - 1 - age;
  return vec2i(select(NOWHERE, held, past > 0 && held >= max(end, SINKS)), ABOVE);
}
${
  v.carry
    ? `
fn carried(first: u32, count: u32, query: u32, head: u32) -> vec2f {
  if (query >= count) { return vec2f(NOTHING, 0.0); }
  return out[((first + query) * p.heads + head) * LINE4 + D4].xy;
}
fn unfinished(first: u32, count: u32, query: u32, head: u32, c: u32) -> vec4f {
  if (query >= count || c >= D4) { return vec4f(0.0); }
  return out[((first + query) * p.heads + head) * LINE4 + c];
}`
    : ""
}
fn finish(first: u32, count: u32, query: u32, head: u32, c: u32, value: vec4f) {
  if (query < count && c < D4) { out[((first + query) * p.heads + head) * LINE4 + c] = value; }
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
  let ty = lane / 16u;
  let tx = lane % 16u;
  let tile = tiles[workgroup.x];
  let row = rows[tile.x];
  let slot = u32(max(row.z, 0));
  let past = row.w;
  let head = workgroup.y;
  let kvHead = head / (p.heads / G);
  let columns = p.heads + 2u * G;
  let first = u32(tile.y);
  let count = min(QUERIES, u32(row.x + row.y) - first);
  let position = past + tile.y - row.x;                // of the tile's first query
  let lastPosition = position + i32(count) - 1;
  let lowest = max(position - p.window + 1, 0);
  let cut = cuts[slot];
  let end = packedEnd(past, cut.x);
  let queryPosition = vec4i(position + i32(ty) * 4) + vec4i(0, 1, 2, 3);
${
  strictPrefill
    ? `  let queryEnd = vec4i(${rows.map((i) => `packedEnd(queryPosition[${i}], cut.x)`).join(", ")});
  let lastEnd = packedEnd(lastPosition, cut.x);`
    : `  let queryEnd = vec4i(end);
  let lastEnd = end;`
}
${
  byChannel
    ? `  let slotsEnd = lastEnd + cut.y;
  let firstSlot = max(lowest - SINKS, 0);              // a token's slot is never further below its position`
    : `  let slotsEnd = lastEnd;
  let firstSlot = lowest;`
}

  // Blocks: packed ones from \`block\` to packedBlocks − 1, then the side store's, then own ones.
  let packedBlocks = max(min(slotsEnd, p.toSlot) + i32(KEYS) - 1, 0) / i32(KEYS);
  let sideBlocks = (ENTRIES + i32(KEYS) - 1) / i32(KEYS);
  let ownBlocks = (lastPosition - past) / i32(KEYS) + 1;
  let ownBlock = max(lowest - past, 0) / i32(KEYS);
  var block = max(firstSlot, p.fromSlot) / i32(KEYS);
  if (block > packedBlocks) { block = packedBlocks; }
  var lastBlock = packedBlocks + select(0, sideBlocks + ownBlocks, p.hasNear == 1u);
  if (row.z < 0) { lastBlock = block; }                // a dead row sees nothing: the loop stays empty

  var best = vec4f(NOTHING);    // running maximum of the four queries; the same in all sixteen threads of ty
  var sum = vec4f(0.0);         // of the probabilities of this thread's keys
  // Column i is query 4 · ty + i, rows are the channels of vec4 tx + 16 · n.
${parts.map((n) => `  var acc${n} = mat4x4f();`).join("\n")}
${
  v.carry
    ? `
  if (p.isFirst == 0u) {
${rows.map((i) => `    let s${i} = carried(first, count, ty * 4u + ${i}u, head);`).join("\n")}
    best = vec4f(s0.x, s1.x, s2.x, s3.x);
    sum = select(vec4f(0.0), vec4f(s0.y, s1.y, s2.y, s3.y), tx == 0u);
${parts
  .map(
    (n) => `
    acc${n} = mat4x4f(
${rows.map((i) => `      unfinished(first, count, ty * 4u + ${i}u, head, tx + ${16 * n}u),`).join("\n")}
    );`,
  )
  .join("")}
  }`
    : ""
}

  for (; block < lastBlock; block++) {
    let isPacked = block < packedBlocks;
    let isSide = !isPacked && block < packedBlocks + sideBlocks;
    let start = u32(block - select(select(packedBlocks + sideBlocks, packedBlocks, isSide), 0, isPacked)) * KEYS;
    if (!isPacked && !isSide && i32(start / KEYS) < ownBlock) { continue; }
    var page = 0u;
    if (isPacked) {
      let entry = pageTable[slot * p.pagesPerSlot + start / PAGE] - p.firstPage;
      if (entry < 0 || entry >= p.pages) { continue; }     // in another segment
      page = u32(entry);
    }
    if (lane < KEYS) {
      var known = vec2i(NOWHERE, BELOW);
      if (isPacked) { known.x = packedPosition(slot, start, lane, slotsEnd); }
      else if (isSide) { known = sideInfo(slot, i32(start + lane), past, end); }
      else {
        let token = past + i32(start + lane);
        if (token <= lastPosition) {
          known = vec2i(token, select(ABOVE, ALWAYS, token < SINKS || isSkipped(slot, token)));
        }
      }
      info[lane] = known;
    }
    workgroupBarrier();

    var score0 = vec4f(0.0);   // of key tx and the four queries
    var score1 = vec4f(0.0);   // of key tx + 16
    let width = D4 + select(0u, MEAN4, isPacked);
    for (var at = 0u; at < width; at += PIECE) {
      for (var i = lane; i < QUERIES * PIECE; i += 128u) {
        let query = i / PIECE;
        let c = at + i % PIECE;
        var q = vec4f(0.0);
        if (query < count && c < D4) { q = qkv[((first + query) * columns + head) * D4 + c] * p.scale; }
${
  meanPairs > 0
    ? `        else if (query < count && c < width) {
          let m = (c - D4) * 2u;
          q = vec4f(queryTerms(first + query, head, m), queryTerms(first + query, head, m + 1u)) * p.scale;
        }`
    : ""
}
        piece[query * LINE + i % PIECE] = q;
      }
      for (var i = lane; i < KEYS * PIECE; i += 128u) {
        let key = i / PIECE;
        let c = at + i % PIECE;
        let known = info[key].x;
        var k = vec4f(0.0);
        if (c < D4 && known != NOWHERE) {
          if (isPacked) {
${
  ropeAtRead
    ? "            k = keys[((u32(tile.x * p.restored - p.fromSlot) + start + key) * G + kvHead) * D4 + c];"
    : "            k = keyElements(page, kvHead, (start + key) % PAGE, c);"
}
          }
${v.side ? "          else if (isSide) { k = entry(slot, start + key, 0u, kvHead, c); }" : ""}
          else { k = qkv[((u32(row.x) + start + key) * columns + p.heads + kvHead) * D4 + c]; }
        }
${
  meanPairs > 0
    ? `        else if (c >= D4 && c < width) {
          let m = (c - D4) * 2u;
          k = vec4f(keyTerms(known, kvHead, m), keyTerms(known, kvHead, m + 1u));
        }`
    : ""
}
        piece[(KEYS + key) * LINE + i % PIECE] = k;
      }
      workgroupBarrier();
      for (var c = 0u; c < min(PIECE, width - at); c++) {
        let k0 = piece[(KEYS + tx) * LINE + c];
        let k1 = piece[(KEYS + tx + 16u) * LINE + c];
${rows.map((i) => `        let q${i} = piece[(ty * 4u + ${i}u) * LINE + c];`).join("\n")}
        score0 += vec4f(dot(q0, k0), dot(q1, k0), dot(q2, k0), dot(q3, k0));
        score1 += vec4f(dot(q0, k1), dot(q1, k1), dot(q2, k1), dot(q3, k1));
      }
      workgroupBarrier();
    }

    // Which of the keys each query sees; hidden ones count nowhere, whatever the page holds there.
    let visible0 = visible(info[tx], queryPosition, queryEnd);
    let visible1 = visible(info[tx + 16u], queryPosition, queryEnd);
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

${parts
  .map(
    (n) => `
    acc${n} = mat4x4f(acc${n}[0] * shrink.x, acc${n}[1] * shrink.y, acc${n}[2] * shrink.z, acc${n}[3] * shrink.w);
    for (var i = lane; i < KEYS * 16u; i += 128u) {
      let key = i / 16u;
      let c = i % 16u + ${16 * n}u;
      var value = vec4f(0.0);
      if (c < D4 && info[key].x != NOWHERE) {
        if (isPacked) { value = valueElements(page, kvHead, (start + key) % PAGE, c); }
${v.side ? "        else if (isSide) { value = entry(slot, start + key, 1u, kvHead, c); }" : ""}
        else { value = qkv[((u32(row.x) + start + key) * columns + p.heads + G + kvHead) * D4 + c]; }
      }
      piece[key * VALUE_LINE + i % 16u] = value;
    }
    workgroupBarrier();
    for (var key = 0u; key < KEYS; key++) {
      let weight = probabilities[key * LINE + ty];
      let value = piece[key * VALUE_LINE + tx];
      acc${n} += mat4x4f(value * weight.x, value * weight.y, value * weight.z, value * weight.w);
    }
    workgroupBarrier();`,
  )
  .join("\n")}
  }

  // The loop's last read of exchange lies before a barrier, so it can be written again.
  exchange[lane] = sum;
  workgroupBarrier();
  var total = vec4f(0.0);
  for (var i = 0u; i < 16u; i++) { total += exchange[ty * 16u + i]; }
  var factor = select(vec4f(0.0), 1.0 / total, total > vec4f(0.0));
${
  v.carry
    ? `
  factor = vec4f(1.0);
  for (var i = 0u; i < 4u; i++) {
    let query = ty * 4u + i;
    if (tx == 0u && query < count) { out[((first + query) * p.heads + head) * LINE4 + D4] = vec4f(best[i], total[i], 0.0, 0.0); }
  }`
    : ""
}
${parts
  .flatMap((n) =>
    rows.map((i) => `  finish(first, count, ty * 4u + ${i}u, head, tx + ${16 * n}u, acc${n}[${i}] * factor[${i}]);`),
  )
  .join("\n")}
}

fn visible(known: vec2i, queryPosition: vec4i, queryEnd: vec4i) -> vec4<bool> {
  let token = vec4i(known.x);
  let causal = (token <= queryPosition) & (token > queryPosition - p.window) & vec4<bool>(known.x != NOWHERE);
  let below = token < queryEnd;
  let counts = select(select(vec4<bool>(true), !below, known.y == ABOVE), below, known.y == BELOW);
  return causal & counts;
}`,
  };
}
