/**
 * WGSL of the part of a decode step's attention that is not packed: side entries, and the step's own token.
 *
 * A workgroup takes a query head. Candidates go by in chunks, four threads each for the scores; then thread (lane, c) weighs
 * channels 4·c … 4·c + 3 of candidates lane, lane + LANES, …. Loads do not wait for what was found before. Workgroups of the
 * decode kernel do it beside those that read pages; where that kernel runs several times, or has no binding free, it is a
 * launch of its own.
 */
import type { WebGpuKernel } from "../../device/webgpu/kernel.js";
import { params } from "../../device/webgpu/params.js";
import type { PackedFormat } from "../packed-kv/format.js";
import { partWidth } from "./lanes.js";
import { packedEndWgsl } from "./packed-end.wgsl.js";
import { literal, upTo } from "./unpack.wgsl.js";

export interface NearVariant {
  readonly format: PackedFormat;
  /** There is a side store. */
  readonly side: boolean;
}

export const nearParams = params({
  tokens: "u32",
  heads: "u32",
  window: "i32",
  scale: "f32",
  /** The part that this launch writes. */
  part: "u32",
});

const THREADS = 256;

/** Buffers: qkv, tokens, cuts, parts, then `side`, and `markedTokens` where the format marks tokens. Grid: [H, T]. */
export function nearKernel({ format, side }: NearVariant): WebGpuKernel {
  const { headDim, kvHeads, marked } = format;
  return {
    label: `packed attention near D=${headDim}${side ? " side" : ""}${marked > 0 ? " marked" : ""}`,
    code: /* wgsl */ `
const G = ${kvHeads}u;
const THREADS = ${THREADS}u;
const PART = ${partWidth(headDim)}u;
const NOTHING = -1e30;
${nearParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;            // [T, H + 2G, D]
@group(0) @binding(2) var<storage, read> tokens: array<vec4i>;       // id, position, row, slot
@group(0) @binding(3) var<storage, read> cuts: array<vec2i>;         // [slots]: floor, shift
@group(0) @binding(4) var<storage, read_write> parts: array<f32>;    // [part, T, H, PART]
${side ? `@group(0) @binding(5) ${SIDE_BINDING}` : ""}
${side && marked > 0 ? `@group(0) @binding(6) ${MARKED_BINDING}` : ""}

var<workgroup> partial: array<vec4f, ${headDim / 4}>;
var<workgroup> gathered: array<vec4f, THREADS>;
var<workgroup> exchange: array<f32, THREADS>;
var<workgroup> sums: array<f32, THREADS>;

${packedEndWgsl(format)}
${nearWgsl({ format, side }, THREADS)}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  near(workgroup.x, workgroup.y, thread, p.part);
}`,
  };
}

export const SIDE_BINDING = "var<storage, read> side: array<vec2u>;         // [slots, entries, 2, G, D] halves";
export const MARKED_BINDING = "var<storage, read> markedTokens: array<i32>;   // [slots, MARKED]";

/**
 * `fn near(head, token, thread, part)` for workgroups of as many threads.
 *
 * Names the kernel's own: bindings and constants as above, and workgroup memory `partial` for q, `sums` for scores,
 * `exchange` and `gathered`, of which it leaves nothing behind.
 */
export function nearWgsl({ format, side }: NearVariant, threads: number): string {
  const { headDim, marked } = format;
  const vectors = headDim / 4;
  /** Of four threads that share a candidate, each takes every fourth vector. */
  const turns = upTo(Math.ceil(vectors / 4));
  return /* wgsl */ `
const D4 = ${vectors}u;
const NEAR_LANES = ${Math.floor(threads / vectors)}u;
const CHUNK = ${threads / 4}u;
const ENTRIES = ${side ? "SINKS + RING + MARKED" : "0"};
fn columns(at: u32) -> vec4f { return vec4f(qkv[4u * at], qkv[4u * at + 1u], qkv[4u * at + 2u], qkv[4u * at + 3u]); }

/** Whether candidate i counts: an entry of the side store, or behind them the step's own token. */
fn counts(i: i32, slot: u32, past: i32, end: i32, lowest: i32) -> bool {
  if (i > ENTRIES) { return false; }
  if (i == ENTRIES) { return true; }
${
  side
    ? `
  if (i < SINKS) { return i < past && i >= lowest; }
${
  marked > 0
    ? `
  if (i >= SINKS + RING) {
    let marked = markedTokens[i32(slot) * MARKED + i - SINKS - RING];
    return marked >= max(SINKS, lowest) && marked < min(end, past);
  }`
    : ""
}
  // The newest token that this entry of the ring can hold.
  let age = (past - 1 - (i - SINKS) + RING) % max(RING, 1);
  let held = past - 1 - age;
  return past > 0 && held >= max(max(end, SINKS), lowest);`
    : "  return false;"
}
}
${
  side
    ? `
fn widened(at: u32) -> vec4f { return vec4f(unpack2x16float(side[at].x), unpack2x16float(side[at].y)); }
fn entryAt(i: i32, slot: u32, which: u32, kvHead: u32) -> u32 {
  return (((slot * u32(ENTRIES) + u32(i)) * 2u + which) * G + kvHead) * D4;
}`
    : ""
}

fn near(head: u32, token: u32, thread: u32, which: u32) {
  let kvHead = head / (p.heads / G);
  let width = p.heads + 2u * G;
  let word = tokens[token];
  let slot = u32(max(word.w, 0));
  let past = word.y;
  let end = packedEnd(past, cuts[slot].x);
  let lowest = max(past - p.window + 1, 0);
  let ownKey = (token * width + p.heads + kvHead) * D4;
  let ownValue = ownKey + G * D4;
  for (var i = thread; i < D4; i += THREADS) {
    partial[i] = columns((token * width + head) * D4 + i) * (p.scale * ${literal(Math.LOG2E)});
  }
  workgroupBarrier();

  let lane = thread / D4;        // of the value sums; threads beyond the last lane sit out
  let c = thread % D4;
  var acc = vec4f(0.0);
  var best = NOTHING;
  var sum = 0.0;
  let candidates = select(ENTRIES + 1, 0, word.w < 0);
  for (var first = 0; first < candidates; first += i32(CHUNK)) {
    let i = first + i32(thread / 4u);
    let shown = counts(i, slot, past, end, lowest);
    var dots = vec4f(0.0);
${
  side
    ? `
    if (shown && i != ENTRIES) {
      let at = entryAt(i, slot, 0u, kvHead) + thread % 4u;
${turns.map((n) => `      let k${n} = widened(${4 * n + 3 < vectors ? `at + ${4 * n}u` : `min(at + ${4 * n}u, at - thread % 4u + ${vectors - 1}u)`});`).join("\n")}
${turns.map((n) => `      ${4 * n + 3 < vectors ? "" : `if (thread % 4u + ${4 * n}u < D4) { `}dots = fma(partial[thread % 4u + ${4 * n}u], k${n}, dots);${4 * n + 3 < vectors ? "" : " }"}`).join("\n")}
    }`
    : ""
}
    if (i == ENTRIES) {
      for (var j = thread % 4u; j < D4; j += 4u) { dots = fma(partial[j], columns(ownKey + j), dots); }
    }
    exchange[thread] = dot(dots, vec4f(1.0));
    workgroupBarrier();
    if (thread % 4u == 0u) {
      let score = exchange[thread] + exchange[thread + 1u] + exchange[thread + 2u] + exchange[thread + 3u];
      sums[thread / 4u] = select(NOTHING, score, shown);
    }
    workgroupBarrier();
    var next = best;
    for (var j = 0u; j < CHUNK; j++) { next = max(next, sums[j]); }
    let shrink = exp2(best - next);
    acc *= shrink;
    sum *= shrink;
    best = next;
    if (lane < NEAR_LANES) {
      for (var j = lane; j < CHUNK; j += NEAR_LANES) {
        let candidate = first + i32(j);
        let probability = select(0.0, exp2(sums[j] - best), sums[j] > NOTHING);
        sum += probability;
${
  side
    ? `
        // What nothing was written to may be no number, and 0 · NaN is NaN.
        let value = widened(entryAt(min(candidate, ENTRIES - 1), slot, 1u, kvHead) + c);
        acc += select(vec4f(0.0), probability * value, probability > 0.0 && candidate < ENTRIES);`
    : ""
}
        if (candidate == ENTRIES) { acc = fma(vec4f(probability), columns(ownValue + c), acc); }
      }
    }
    workgroupBarrier();
  }

  gathered[thread] = acc;
  exchange[thread] = sum;
  workgroupBarrier();
  let part = ((which * p.tokens + token) * p.heads + head) * PART;
  if (thread < D4) {
    var total = 0.0;
    for (var i = 0u; i < NEAR_LANES; i++) {
      total += exchange[i * D4 + thread];
      if (i > 0u) { acc += gathered[i * D4 + thread]; }
    }
    for (var i = 0u; i < 4u; i++) { parts[part + thread * 4u + i] = acc[i]; }
    if (thread == 0u) {
      parts[part + D4 * 4u] = best;
      parts[part + D4 * 4u + 1u] = total;
    }
  }
}`;
}
