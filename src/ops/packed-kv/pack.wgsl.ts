/**
 * WebGPU kernels of packKv.
 *
 * Pages: a workgroup takes four rows, sixteen lanes a row. Packed token by token these are four heads of what the step's token
 * stands for; packed in blocks they are tokens of a block of one head, four after four, and a block of keys is one channel a
 * lane. What decides between them is the same for a whole workgroup.
 */
import type { WebGpuKernel } from "../../device/webgpu/kernel.js";
import { params } from "../../device/webgpu/params.js";
import { hadamardSnippet } from "../fwht/fwht.wgsl.js";
import { rotationWgsl } from "../rope/rotation.wgsl.js";
import { hasParams, hasScales, PACKED_PAGE_TOKENS, pageSections, type SideFormat } from "./format.js";
import { packedEndWgsl } from "./packed-end.wgsl.js";
import { exactWgsl, halfWgsl, sideWgsl } from "./quantiser.wgsl.js";

/** Rows of a workgroup. */
export const ROWS_PER_GROUP = 4;

export interface PackVariant {
  readonly kvHeads: number;
  readonly headDim: number;
  readonly keys: SideFormat;
  readonly values: SideFormat;
  /** There is a ring that tokens come from. */
  readonly ring: boolean;
  /** Keys of the step have a tensor of their own. */
  readonly ownKeys: boolean;
  /** Keys of the ring come from remade rows, [T, G·D]. */
  readonly ringKeys: boolean;
  /** A mean key is taken off, after this transform of it. */
  readonly mean: boolean;
  readonly keyRotation: number;
  /** Decode steps, first segment: a third layer of workgroups writes the step's side entries. See `packOnWebGpu`. */
  readonly withSide: boolean;
  readonly marked: boolean;
}

export const packParams = params({
  tokens: "u32",
  keyOffset: "u32",
  keyStride: "u32",
  valueOffset: "u32",
  valueStride: "u32",
  pagesPerSlot: "u32",
  firstPage: "i32",
  pages: "i32",
  sinks: "i32",
  recent: "i32",
  ring: "i32",
  entries: "i32",
  marked: "i32",
  rotaryDim: "u32",
  highLines: "u32",
  zero: "u32",
});

/**
 * Buffers in order: values, tokens, rows, pageTable, cuts, key pages, value pages, then side, own keys, ringKeys, mean, table,
 * markedTokens as far as the variant has them.
 */
export function packKernel(v: PackVariant): WebGpuKernel {
  const { kvHeads, headDim, keys, values } = v;
  const isBlock = keys.layout === "channel";
  let binding = 8;
  const optional = (isPresent: boolean, name: string, type = "f32", access = "read") => {
    if (!isPresent) return "";
    binding += 1;
    return `@group(0) @binding(${binding - 1}) var<storage, ${access}> ${name}: array<${type}>;`;
  };
  const sides = `${describe(keys)} / ${describe(values)}`;
  return {
    label: `pack-kv G=${kvHeads} D=${headDim} ${sides}${v.ring ? " ring" : ""}${v.ownKeys ? " own keys" : ""}${v.ringKeys ? " ring keys" : ""}${v.mean ? ` mean H=${v.keyRotation}` : ""}`,
    code: /* wgsl */ `
const D = ${headDim}u;
const HEADS = ${kvHeads}u;
const ROWS = ${ROWS_PER_GROUP}u;
const LANES = 16u;
const PAGE = ${PACKED_PAGE_TOKENS}u;
const BLOCK = ${isBlock ? keys.group : 1};
${packParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> source: array<f32>;       // values of the step; keys too, without a tensor of their own
@group(0) @binding(2) var<storage, read> tokens: array<vec4i>;     // id, position, row, slot
@group(0) @binding(3) var<storage, read> rows: array<vec4i>;       // firstToken, count, slot, past
@group(0) @binding(4) var<storage, read> pageTable: array<i32>;    // [slots, pagesPerSlot]
@group(0) @binding(5) var<storage, read> cuts: array<vec2i>;       // floor, shift
@group(0) @binding(6) var<storage, read_write> keyPages: array<${wordType(keys)}>;
@group(0) @binding(7) var<storage, read_write> valuePages: array<${wordType(values)}>;
${optional(v.ring || v.withSide, "side", "u32", v.withSide ? "read_write" : "read")}
${optional(v.ownKeys, "ownKeys")}
${optional(v.ringKeys, "ringKeys")}
${optional(v.mean, "mean")}
${optional(v.mean, "table")}
${optional(v.marked, "markedTokens", "i32")}
${halfWgsl}
${exactWgsl}
${packedEndWgsl}
${v.mean ? rotationWgsl : ""}
${sideWgsl(keys, "K")}
${sideWgsl(values, "V")}

var<workgroup> x: array<f32, ROWS * D>;
${v.mean ? "var<workgroup> centre: array<f32, ROWS * D>;" : ""}
var<workgroup> partialA: array<f32, 64>;
var<workgroup> partialB: array<f32, 64>;
var<workgroup> scaleOf: array<f32, 64>;
var<workgroup> offsetOf: array<f32, 64>;
${isBlock ? channelArrays : ""}
${v.mean && v.keyRotation > 0 ? hadamardSnippet({ name: "hadamard", array: "centre", width: v.keyRotation, lanes: 16 }) : ""}

// What a workgroup works for; the same for all its lanes.
struct Work {
  isNeeded: bool,
  step: u32,        // the step's token
  j: i32,           // the sequence's token, the first of a block
  past: i32,
  firstToken: i32,
  slot: u32,
  page: u32,        // in this launch's segment
  at: u32,          // token slot in the page
}

fn work(t: u32) -> Work {
  var w = Work(false, t, 0, 0, 0, 0u, 0u, 0u);
  let token = tokens[t];
  if (token.w < 0) { return w; }
  let row = rows[token.z];
  let i = i32(t) - row.x;
  if (i % BLOCK != 0) { return w; }
  let cut = cuts[token.w];
  let before = packedEnd(p.sinks, p.recent, BLOCK, row.w, cut.x);
  let after = packedEnd(p.sinks, p.recent, BLOCK, row.w + row.y, cut.x);
  w.j = i + ${isBlock ? "max(before, max(p.sinks, cut.x))" : "before"};
  if (w.j >= after) { return w; }
  let place = w.j${isBlock ? " + cut.y" : ""};
  if (place < 0 || u32(place) / PAGE >= p.pagesPerSlot) { return w; }
  let page = pageTable[u32(token.w) * p.pagesPerSlot + u32(place) / PAGE] - p.firstPage;
  if (page < 0 || page >= p.pages) { return w; }
  w.past = row.w;
  w.firstToken = row.x;
  w.slot = u32(token.w);
  w.page = u32(page);
  w.at = u32(place) % PAGE;
  w.isNeeded = true;
  return w;
}

// Channel c of a row of the sequence's token j, before the mean is taken off.
fn fetchK(w: Work, j: i32, head: u32, c: u32) -> f32 {
${ringFetch(v, "key")}
  return ${v.ownKeys ? "ownKeys" : "source"}[p.keyOffset + u32(w.firstToken + j - w.past) * p.keyStride + head * D + c];
}
fn fetchV(w: Work, j: i32, head: u32, c: u32) -> f32 {
${ringFetch(v, "value")}
  return source[p.valueOffset + u32(w.firstToken + j - w.past) * p.valueStride + head * D + c];
}

// The sum of the sixteen lanes of a row: partial sums by c mod 16, added at distances 4, 8, 2, 1.
fn sumA(row: u32) -> f32 {
  let at = row * LANES;
  let a = vec4f(partialA[at], partialA[at + 1u], partialA[at + 2u], partialA[at + 3u]);
  let b = vec4f(partialA[at + 4u], partialA[at + 5u], partialA[at + 6u], partialA[at + 7u]);
  let c = vec4f(partialA[at + 8u], partialA[at + 9u], partialA[at + 10u], partialA[at + 11u]);
  let d = vec4f(partialA[at + 12u], partialA[at + 13u], partialA[at + 14u], partialA[at + 15u]);
  let sum = (a + b) + (c + d);
  return (sum.x + sum.z) + (sum.y + sum.w);
}
fn sumB(row: u32) -> f32 {
  let at = row * LANES;
  let a = vec4f(partialB[at], partialB[at + 1u], partialB[at + 2u], partialB[at + 3u]);
  let b = vec4f(partialB[at + 4u], partialB[at + 5u], partialB[at + 6u], partialB[at + 7u]);
  let c = vec4f(partialB[at + 8u], partialB[at + 9u], partialB[at + 10u], partialB[at + 11u]);
  let d = vec4f(partialB[at + 12u], partialB[at + 13u], partialB[at + 14u], partialB[at + 15u]);
  let sum = (a + b) + (c + d);
  return (sum.x + sum.z) + (sum.y + sum.w);
}

// f16 bits of the root mean square of channels begin … end − 1 of the row in x, \`inverse\` being one by their number; ends with
// the sum visible, begins with x visible to its own lane.
fn rowRms(row: u32, lane: u32, begin: u32, end: u32, inverse: u32) -> u32 {
  var sum = 0.0;
  for (var c = begin + lane; c < end; c += LANES) { sum += rounded(x[row * D + c] * x[row * D + c]); }
  partialA[row * LANES + lane] = sum;
  workgroupBarrier();
  return halfOfRoot(sumA(row) * bitcast<f32>(inverse));
}
${pageWrites(keys, "K", "keyPages")}
${pageWrites(values, "V", "valuePages")}
${isBlock ? "" : rowFunction(v, keys, "K")}
${rowFunction(v, values, "V")}
${isBlock ? blockFunction(v) : ""}
${v.withSide ? storeEntriesWgsl("source", "HEADS * D", isBlock ? "BLOCK" : "1", v.marked) : ""}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32,
) {
  let index = group.x + group.y * groups.x;
  const UNITS = ${isBlock ? "HEADS" : "(HEADS + ROWS - 1u) / ROWS"};
  let t = index / UNITS;
  if (t >= p.tokens) { return; }
${
  v.withSide
    ? `  if (group.z == 2u) {
    for (var c = index % UNITS * 64u + lane; c < HEADS * D; c += UNITS * 64u) {
      storeEntries(t, p.valueOffset + t * p.valueStride - HEADS * D, c);
    }
    return;
  }`
    : ""
}
  let w = work(t);
  if (!w.isNeeded) { return; }
  let unit = index % UNITS;
  let row = lane / LANES;
  if (group.z == 0u) {
${
  isBlock
    ? "    packBlock(w, unit, lane);"
    : "    let head = unit * ROWS + row;\n    packRowK(w, w.j, head, head < HEADS, w.at, row, lane % LANES);"
}
    return;
  }
${
  isBlock
    ? "  for (var b = 0u; b < u32(BLOCK); b += ROWS) {\n    packRowV(w, w.j + i32(b + row), unit, true, w.at + b + row, row, lane % LANES);\n  }"
    : "  let head = unit * ROWS + row;\n  packRowV(w, w.j, head, head < HEADS, w.at, row, lane % LANES);"
}
}`,
  };
}

function describe(side: SideFormat): string {
  return `${side.bits}-bit ${side.quantiser} ${side.layout} g=${side.group} c=${side.clip}${side.norm ? " norm" : ""}${side.unbiased ? " unbiased" : ""}`;
}

/** Two scales share a word. */
function wordType(side: SideFormat): string {
  return hasScales(side) ? "atomic<u32>" : "u32";
}

function ringFetch(v: PackVariant, which: "key" | "value"): string {
  if (!v.ring) return "";
  if (which === "key" && v.ringKeys) {
    return "  if (j < w.past) { return ringKeys[w.step * HEADS * D + head * D + c]; }";
  }
  return /* wgsl */ `  if (j < w.past) {
    let entry = (w.slot * u32(p.entries) + u32(p.sinks + j % p.ring)) * HEADS * D;
    let channel = ${which === "value" ? "HEADS * D + " : ""}head * D + c;
    return halfValue((side[entry + channel / 2u] >> (16u * (channel % 2u))) & 0xffffu);
  }`;
}

function pageWrites(side: SideFormat, suffix: string, pages: string): string {
  const write = hasScales(side) ? `atomicStore(&${pages}[at], word);` : `${pages}[at] = word;`;
  return /* wgsl */ `
fn store${suffix}(at: u32, word: u32) { ${write} }${
    hasScales(side)
      ? /* wgsl */ `
fn storeHalf${suffix}(firstWord: u32, line: u32, half: u32) {
  let shift = 16u * (line % 2u);
  atomicAnd(&${pages}[firstWord + line / 2u], ~(0xffffu << shift));
  atomicOr(&${pages}[firstWord + line / 2u], half << shift);
}`
      : ""
  }`;
}

/** The statement that sums up word `w` of a row of codes; `code(c)` is an expression of the channel. */
function wordOf(side: SideFormat, headDim: number, code: (c: string) => string): string {
  const { bits } = side;
  if (bits !== 3) {
    const per = 32 / bits;
    return /* wgsl */ `
      for (var i = 0u; i < ${per}u; i++) {
        let c = word * ${per}u + i;
        if (c < D) { bits |= ${code("c")} << (${bits}u * i); }
      }`;
  }
  const low = Math.ceil(headDim / 16);
  return /* wgsl */ `
      if (word < ${low}u) {
        for (var i = 0u; i < 16u; i++) {
          let c = word * 16u + i;
          if (c < D) { bits |= (${code("c")} & 3u) << (2u * i); }
        }
      } else {
        for (var i = 0u; i < 32u; i++) {
          let c = (word - ${low}u) * 32u + i;
          if (c < D) { bits |= (${code("c")} >> 2u) << i; }
        }
      }`;
}

/** `fn packRowX(w, j, head, isHere, at, row, lane)`: sixteen lanes pack a row by token; all lanes of the workgroup call it. */
function rowFunction(v: PackVariant, side: SideFormat, suffix: string): string {
  const at = pageSections(side, v.kvHeads, v.headDim);
  const hasMean = suffix === "K" && v.mean;
  const load = hasMean
    ? /* wgsl */ `
  let half = p.rotaryDim / 2u;
  for (var i = lane; i < half; i += LANES) {
    var mu = vec2f(0.0);
    if (isHere) { mu = vec2f(mean[head * D + i], mean[head * D + half + i]); }
    let turn = rotation(u32(j), i, p.rotaryDim, p.highLines);
    centre[row * D + i] = mu.x * turn.x - mu.y * turn.y;
    centre[row * D + half + i] = mu.y * turn.x + mu.x * turn.y;
  }
  for (var c = p.rotaryDim + lane; c < D; c += LANES) {
    var mu = 0.0;
    if (isHere) { mu = mean[head * D + c]; }
    centre[row * D + c] = mu;
  }
  workgroupBarrier();
${v.keyRotation > 0 ? "  hadamard(row * D, lane, D);" : ""}`
    : "";
  const levels = !hasParams(side);
  return /* wgsl */ `
fn packRow${suffix}(w: Work, j: i32, head: u32, isHere: bool, at: u32, row: u32, lane: u32) {
${load}
  for (var c = lane; c < D; c += LANES) {
    var value = 0.0;
    if (isHere) { value = sanitised(fetch${suffix}(w, j, head, c)${hasMean ? " - centre[row * D + c]" : ""}); }
    x[row * D + c] = value;
  }
  let line = head * PAGE + at;
  let page = w.page * ${at.words}u;
${side.norm ? normLines(v.headDim, suffix, at.scales) : ""}
${levels ? levelLines(side, v.headDim, suffix, at.scales) : groupLines(v, side, suffix, at.params)}
  for (var word = lane; word < ${at.rowWords}u; word += LANES) {
    var bits = 0u;
    if (isHere) {${wordOf(side, v.headDim, (c) =>
      levels
        ? `levelCode${suffix}(x[row * D + ${c}], scaleOf[row * LANES + ${c} / ${side.group}u])`
        : `code${suffix}(x[row * D + ${c}], scaleOf[row * LANES + ${c} / ${side.group}u], offsetOf[row * LANES + ${c} / ${side.group}u])`,
    )}
      store${suffix}(page + line * ${at.rowWords}u + word, bits);
    }
  }
  workgroupBarrier();
}`;
}

/** The float nearest to 1/n. */
function inverseBits(n: number): number {
  return new Uint32Array(Float32Array.of(1 / n).buffer)[0]!;
}

/** Divides the row by its norm, which is stored; each lane its own channels. */
function normLines(headDim: number, suffix: string, scales: number): string {
  return /* wgsl */ `
  let norm = rowRms(row, lane, 0u, D, ${inverseBits(headDim)}u);
  if (isHere && lane == 0u) { storeHalf${suffix}(page + ${scales}u, line, norm); }
  let divisor = max(halfValue(norm), bitcast<f32>(SMALLEST_BITS));
  for (var c = lane; c < D; c += LANES) { x[row * D + c] = quotientByHalf(x[row * D + c], divisor); }`;
}

/** Root mean squares of the row's groups, which codes are made by, into scaleOf; their scales into the page. */
function levelLines(side: SideFormat, headDim: number, suffix: string, scales: number): string {
  const { unbiased, group } = side;
  const groups = headDim / group;
  const quotient = unbiased ? "sumB(row), sumA(row)" : "sumA(row), sumB(row)";
  return /* wgsl */ `
  for (var j = 0u; j < ${groups}u; j++) {
    let begin = j * ${group}u;
    let end = begin + ${group}u;
    let rms = halfValue(rowRms(row, lane, begin, end, ${inverseBits(group)}u));
    workgroupBarrier();
    var products = 0.0;
    var squares = 0.0;
    for (var c = begin + lane; c < end; c += LANES) {
      let level = levelOf${suffix}(levelCode${suffix}(x[row * D + c], rms));
      products += rounded(x[row * D + c] * level);
      squares += rounded(${unbiased ? "x[row * D + c] * x[row * D + c]" : "level * level"});
    }
    partialA[row * LANES + lane] = products;
    partialB[row * LANES + lane] = squares;
    if (lane == 0u) { scaleOf[row * LANES + j] = rms; }
    workgroupBarrier();
    if (isHere && lane == 0u) {
      storeHalf${suffix}(page + ${scales}u, line * ${groups}u + j, halfOfQuotient(${quotient}));
    }
${groups > 1 ? "    workgroupBarrier();" : ""}
  }`;
}

/** Ranges and parameters of the row's groups: PARTS lanes a group look through it, the first of them finishes it. */
function groupLines(v: PackVariant, side: SideFormat, suffix: string, firstParams: number): string {
  const groups = v.headDim / side.group;
  let parts = 1;
  while (parts * 2 * groups <= 16 && parts * 2 <= side.group) parts *= 2;
  return /* wgsl */ `
  workgroupBarrier();
  let own = lane / ${parts}u;
  if (own < ${groups}u) {
    var lo = x[row * D + own * ${side.group}u + lane % ${parts}u];
    var hi = lo;
    for (var i = lane % ${parts}u; i < ${side.group}u; i += ${parts}u) {
      let value = x[row * D + own * ${side.group}u + i];
      lo = min(lo, value);
      hi = max(hi, value);
    }
    partialA[row * LANES + lane] = lo;
    partialB[row * LANES + lane] = hi;
  }
  workgroupBarrier();
  if (own < ${groups}u && lane % ${parts}u == 0u) {
    var lo = partialA[row * LANES + lane];
    var hi = partialB[row * LANES + lane];
    for (var i = 1u; i < ${parts}u; i++) {
      lo = min(lo, partialA[row * LANES + lane + i]);
      hi = max(hi, partialB[row * LANES + lane + i]);
    }
    let group = parameters${suffix}(lo, hi);
    scaleOf[row * LANES + own] = halfValue(group.x);
    offsetOf[row * LANES + own] = halfValue(group.y);
    if (isHere) { store${suffix}(page + ${firstParams}u + line * ${groups}u + own, group.x | (group.y << 16u)); }
  }
  workgroupBarrier();`;
}

const channelArrays = /* wgsl */ `
var<workgroup> divisorOf: array<f32, u32(BLOCK)>;
var<workgroup> channelScale: array<f32, D>;
var<workgroup> channelOffset: array<f32, D>;`;

/** `fn packBlock(w, head, lane)`: a workgroup packs a block of keys by channel. */
function blockFunction(v: PackVariant): string {
  const side = v.keys;
  const at = pageSections(side, v.kvHeads, v.headDim);
  const blocks = PACKED_PAGE_TOKENS / side.group;
  return /* wgsl */ `
fn blockInput(w: Work, b: u32, head: u32, c: u32) -> f32 {
  let value = sanitised(fetchK(w, w.j + i32(b), head, c));
  return ${side.norm ? "quotientByHalf(value, divisorOf[b])" : "value"};
}

fn packBlock(w: Work, head: u32, lane: u32) {
  let page = w.page * ${at.words}u;
  let line = head * PAGE + w.at;
${
  side.norm
    ? /* wgsl */ `
  let row = lane / LANES;
  for (var first = 0u; first < u32(BLOCK); first += ROWS) {
    let b = first + row;
    for (var c = lane % LANES; c < D; c += LANES) { x[row * D + c] = sanitised(fetchK(w, w.j + i32(b), head, c)); }
    let norm = rowRms(row, lane % LANES, 0u, D, ${inverseBits(v.headDim)}u);
    if (lane % LANES == 0u) {
      storeHalfK(page + ${at.scales}u, line + b, norm);
      divisorOf[b] = max(halfValue(norm), bitcast<f32>(SMALLEST_BITS));
    }
    workgroupBarrier();
  }`
    : ""
}
  for (var c = lane; c < D; c += 64u) {
    var lo = blockInput(w, 0u, head, c);
    var hi = lo;
    for (var b = 1u; b < u32(BLOCK); b++) {
      let value = blockInput(w, b, head, c);
      lo = min(lo, value);
      hi = max(hi, value);
    }
    let group = parametersK(lo, hi);
    channelScale[c] = halfValue(group.x);
    channelOffset[c] = halfValue(group.y);
    storeK(page + ${at.params}u + (head * ${blocks}u + w.at / u32(BLOCK)) * D + c, group.x | (group.y << 16u));
  }
  workgroupBarrier();
  for (var u = lane; u < u32(BLOCK) * ${at.rowWords}u; u += 64u) {
    let b = u / ${at.rowWords}u;
    let word = u % ${at.rowWords}u;
    var bits = 0u;${wordOf(side, v.headDim, (c) => `codeK(blockInput(w, b, head, ${c}), channelScale[${c}], channelOffset[${c}])`)}
    storeK(page + (line + b) * ${at.rowWords}u + word, bits);
  }
}`;
}

/**
 * `fn storeEntries(t, start, c)`: word c (two channels) of the step's token t to all its side entries; its keys and values, side
 * by side as in an entry, begin at number `start` of the buffer.
 */
function storeEntriesWgsl(buffer: string, channels: string, block: string, marked: boolean): string {
  return /* wgsl */ `
fn storeEntries(t: u32, start: u32, c: u32) {
  let token = tokens[t];
  if (token.w < 0) { return; }
  let row = rows[token.z];
  let j = row.w + i32(t) - row.x;
  let at = start + 2u * c;
  let word = halfOf(sanitised(${buffer}[at])) | (halfOf(sanitised(${buffer}[at + 1u])) << 16u);
  let first = token.w * p.entries;
  if (j < p.sinks) { side[u32(first + j) * ${channels} + c] = word; }
  if (p.ring > 0 && j >= packedEnd(p.sinks, p.recent, ${block}, row.w + row.y, cuts[token.w].x)) {
    side[u32(first + p.sinks + j % p.ring) * ${channels} + c] = word;
  }
${
  marked
    ? `
  for (var i = 0; i < p.marked; i++) {
    if (markedTokens[token.w * p.marked + i] == j) { side[u32(first + p.sinks + p.ring + i) * ${channels} + c] = word; }
  }`
    : ""
}
}`;
}

export interface SideVariant {
  readonly marked: boolean;
}

export const sideParams = params({
  tokens: "u32",
  rows: "u32",
  heads: "u32",
  /** G·D: words of an entry. */
  channels: "u32",
  headDim: "u32",
  sinks: "i32",
  recent: "i32",
  block: "i32",
  ring: "i32",
  marked: "i32",
  entries: "i32",
  zero: "u32",
});

/** The step's entries: a lane takes a word of a token. Buffers: qkv, tokens, rows, cuts, side, then markedTokens. */
export function packSideKernel(v: SideVariant): WebGpuKernel {
  return {
    label: `pack-kv side${v.marked ? " marked" : ""}`,
    code: /* wgsl */ `
${sideParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;        // [T, H + 2G, D]
@group(0) @binding(2) var<storage, read> tokens: array<vec4i>;   // id, position, row, slot
@group(0) @binding(3) var<storage, read> rows: array<vec4i>;     // firstToken, count, slot, past
@group(0) @binding(4) var<storage, read> cuts: array<vec2i>;     // floor, shift
@group(0) @binding(5) var<storage, read_write> side: array<u32>; // [slots, entries, 2·G·D halves]
${v.marked ? "@group(0) @binding(6) var<storage, read> markedTokens: array<i32>;  // [slots, marked]" : ""}
${halfWgsl}
${packedEndWgsl}
${storeEntriesWgsl("qkv", "p.channels", "p.block", v.marked)}
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32,
) {
  let index = (group.x + group.y * groups.x) * 64u + lane;
  let t = index / p.channels;
  if (t >= p.tokens) { return; }
  storeEntries(t, t * (p.heads * p.headDim + 2u * p.channels) + p.heads * p.headDim, index % p.channels);
}`,
  };
}

/** Tokens of the ring that have been marked since: a workgroup a row and marked entry. Buffers: rows, cuts, side, markedTokens. */
export function packMarkedKernel(): WebGpuKernel {
  return {
    label: "pack-kv marked from the ring",
    code: /* wgsl */ `
${sideParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4i>;
@group(0) @binding(2) var<storage, read> cuts: array<vec2i>;
@group(0) @binding(3) var<storage, read_write> side: array<u32>;
@group(0) @binding(4) var<storage, read> markedTokens: array<i32>;
${packedEndWgsl}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = rows[group.y];
  if (group.y >= p.rows || row.z < 0) { return; }
  let i = i32(group.x);
  let j = markedTokens[row.z * p.marked + i];
  let end = packedEnd(p.sinks, p.recent, p.block, row.w, cuts[row.z].x);
  if (j >= row.w || j < max(p.sinks, end)) { return; }
  let first = row.z * p.entries + p.sinks;
  for (var c = lane; c < p.channels; c += 64u) {
    side[u32(first + p.ring + i) * p.channels + c] = side[u32(first + j % p.ring) * p.channels + c];
  }
}`,
  };
}

/** Each quantiser and width in each layout, with every way that rows come. */
export function packVariants(): WebGpuKernel[] {
  const side = { bits: 2, layout: "token", group: 16, quantiser: "min", clip: 0.8, norm: false } as const;
  const levels = (bits: 2 | 3, group: number) => ({ ...side, bits, quantiser: "levels", group }) as const;
  const even = (bits: 2 | 3, group: number) => ({ ...side, bits, quantiser: "even", group, unbiased: true }) as const;
  const plain = {
    ...{ kvHeads: 3, headDim: 80, keys: side, values: side, ring: false, ownKeys: false, ringKeys: false },
    ...{ mean: false, keyRotation: 0, withSide: false, marked: false },
  };
  return [
    ...[
      plain,
      { ...plain, keys: { ...side, bits: 3, quantiser: "zp" }, values: { ...side, bits: 8, group: 80 }, ring: true },
      { ...plain, keys: { ...side, bits: 4, quantiser: "zp" }, ownKeys: true },
      { ...plain, keys: side, ownKeys: true, ring: true, ringKeys: true },
      { ...plain, keys: { ...side, norm: true, bits: 8 }, withSide: true },
      { ...plain, keys: side, ownKeys: true, withSide: true, marked: true },
      { ...plain, keys: { ...side, norm: true, layout: "channel", group: 32 }, ring: true, withSide: true },
      { ...plain, keys: { ...side, bits: 3, layout: "channel", group: 128 }, ring: true },
      { ...plain, keys: levels(2, 80), values: levels(3, 80), mean: true, keyRotation: 16, ring: true },
      { ...plain, keys: even(2, 16), values: even(3, 80), mean: true, keyRotation: 16, ring: true },
      { ...plain, headDim: 256, keys: levels(3, 256), values: levels(2, 256), mean: true, keyRotation: 256 },
    ].map((v) => packKernel(v as PackVariant)), // the literals' bits widen to number
    packSideKernel({ marked: false }),
    packSideKernel({ marked: true }),
    packMarkedKernel(),
  ];
}
