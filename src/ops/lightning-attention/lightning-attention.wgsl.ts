/**
 * WebGPU kernels of lightning attention: `decode` for steps of one token a row, `prefill` for rows of any length.
 *
 * Few heads and rows leave a GPU idle while one block of tokens follows the other. Then rows are cut into chunks: `chunkSums`
 * adds up what each chunk alone adds to the state, `chunkScan` turns the sums into the states before the chunks (and the
 * state behind the last), and `prefill` takes all chunks side by side.
 *
 * Numbers are taken four at a time along D. Head sizes that are no multiple of four get another set of loads and stores,
 * which fill up with zeros; the kernels' bodies are the same.
 */
import { params, type WebGpuKernel } from "../../device/index.js";
import { BLOCK_TOKENS } from "./plan.js";

/** Invocations of a prefill workgroup: eight for each token of a block. */
const PREFILL_THREADS = BLOCK_TOKENS * 8;
const DECODE_THREADS = 256;

const quadsOf = (headDim: number): number => Math.ceil(headDim / 4);

/** Bindings 3 … 5 and their loads and stores. `at` counts lines of D numbers, `c` quads in a line. */
function access(headDim: number): string {
  return `${accessState(headDim)}${accessOut(headDim)}`;
}

/** Bindings 3 and 4. */
function accessState(headDim: number): string {
  return headDim % 4 === 0
    ? /* wgsl */ `
@group(0) @binding(3) var<storage, read> qkv: array<vec4f>;          // [T, H, 3, D]
@group(0) @binding(4) var<storage, read_write> state: array<vec4f>;  // [slots, H, D, D]
fn loadQkv(at: u32, c: u32) -> vec4f { return qkv[at * D4 + c]; }
fn loadState(at: u32, c: u32) -> vec4f { return state[at * D4 + c]; }
fn storeState(at: u32, c: u32, value: vec4f) { state[at * D4 + c] = value; }`
    : /* wgsl */ `
@group(0) @binding(3) var<storage, read> qkv: array<f32>;            // [T, H, 3, D]
@group(0) @binding(4) var<storage, read_write> state: array<f32>;    // [slots, H, D, D]
fn loadQkv(at: u32, c: u32) -> vec4f {
  var value = vec4f(0.0);
  for (var e = 0u; e < min(4u, D - 4u * c); e++) { value[e] = qkv[at * D + 4u * c + e]; }
  return value;
}
fn loadState(at: u32, c: u32) -> vec4f {
  var value = vec4f(0.0);
  for (var e = 0u; e < min(4u, D - 4u * c); e++) { value[e] = state[at * D + 4u * c + e]; }
  return value;
}
fn storeState(at: u32, c: u32, value: vec4f) {
  for (var e = 0u; e < min(4u, D - 4u * c); e++) { state[at * D + 4u * c + e] = value[e]; }
}`;
}

function accessOut(headDim: number): string {
  return headDim % 4 === 0
    ? /* wgsl */ `
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;    // [T, H, D]
fn storeOut(at: u32, c: u32, value: vec4f) { out[at * D4 + c] = value; }`
    : /* wgsl */ `
@group(0) @binding(5) var<storage, read_write> out: array<f32>;      // [T, H, D]
fn storeOut(at: u32, c: u32, value: vec4f) {
  for (var e = 0u; e < min(4u, D - 4u * c); e++) { out[at * D + 4u * c + e] = value[e]; }
}`;
}

export const lightningParams = params({
  heads: "u32",
  /** Rows of the step; in a decode step also its tokens. */
  rows: "u32",
  /** Chunks of a row, where rows are cut. */
  chunks: "u32",
});

export interface DecodeVariant {
  readonly headDim: number;
}

/** Quads of value columns that a workgroup takes: 32 columns are a cache line of the state's row. */
const decodeQuads = (headDim: number): number => (headDim % 32 === 0 ? 8 : quadsOf(headDim));

export const decodeSlices = (v: DecodeVariant): number => Math.ceil(quadsOf(v.headDim) / decodeQuads(v.headDim));

/**
 * Buffers: tokens, decay, qkv, state, out. Grid: x: heads · slices; y, z: tokens.
 *
 * Bound by memory: thread (lane, c) steps through four key rows at a time and keeps its part of q S; one barrier, then
 * the lanes' parts are added.
 */
export function decodeKernel(v: DecodeVariant): WebGpuKernel {
  const quads = quadsOf(v.headDim);
  const units = decodeQuads(v.headDim);
  const lanes = Math.min(quads, Math.floor(DECODE_THREADS / units));
  return {
    label: `lightning-attention decode D=${v.headDim}`,
    code: /* wgsl */ `
const D = ${v.headDim}u;
const D4 = ${quads}u;
const UNITS = ${units}u;     // quads of value columns of the slice
const LANES = ${lanes}u;     // threads that share the key rows
const SLICES = ${decodeSlices(v)}u;
${lightningParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> tokens: array<vec4i>;       // id, position, row, slot
@group(0) @binding(2) var<storage, read> decay: array<f32>;          // [H]
${access(v.headDim)}

var<workgroup> parts: array<vec4f, UNITS * LANES>;

@compute @workgroup_size(${units * lanes})
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32,
) {
  let token = group.z * groups.y + group.y;
  if (token >= p.rows) { return; }
  let head = group.x / SLICES;
  let c = group.x % SLICES * UNITS + thread % UNITS;
  let slot = tokens[token].w;
  let line = token * p.heads + head;

  var sum = vec4f(0.0);
  if (slot >= 0) {
    let lambda = exp(-decay[head]);
    let stateLine = (u32(slot) * p.heads + head) * D;
    let value = loadQkv(line * 3u + 2u, c);
    for (var r4 = thread / UNITS; r4 < D4; r4 += LANES) {
      let q = loadQkv(line * 3u, r4);
      let k = loadQkv(line * 3u + 1u, r4);
      for (var e = 0u; e < min(4u, D - 4u * r4); e++) {
        let at = stateLine + 4u * r4 + e;
        let next = lambda * loadState(at, c) + k[e] * value;
        storeState(at, c, next);
        sum += q[e] * next;
      }
    }
  }
  parts[thread] = sum;
  workgroupBarrier();
  if (thread < UNITS) {
    for (var lane = 1u; lane < LANES; lane++) { sum += parts[lane * UNITS + thread]; }
    storeOut(line, c, sum);
  }
}`,
  };
}

export interface PrefillVariant {
  readonly headDim: number;
  /** Quads of value columns that a workgroup takes, at most 8. */
  readonly sliceQuads: number;
  /** Quads of q and k that are in workgroup memory at a time. */
  readonly pieceQuads: number;
  /** Workgroups take chunks; `state` holds the state before each, and is only read. */
  readonly chunked?: boolean;
}

/** Tokens of a chunk. */
export const CHUNK_TOKENS = 4 * BLOCK_TOKENS;

/** An odd number of quads keeps lines that are read side by side in different banks of the workgroup memory. */
const lineOf = (pieceQuads: number): number => pieceQuads | 1;
const PIECE_LINES = 2 * BLOCK_TOKENS;
/**
 * Eight quads of a token are a cache line. Longer pieces would save barriers, but cost workgroups that run side by side, and
 * software adapters, which clear workgroup memory word by word in generated code, take up to ten seconds to compile them.
 */
const MAX_PIECE_QUADS = 8;
/** The powers of λ and what alignment may take. */
const EXTRA_BYTES = 256;

/**
 * The widest slice, at most `maxQuads`, whose state fits `workgroupBytes` beside pieces of q and k; both cut evenly.
 *
 * All slices of a head compute the same A, so wide ones save work; narrow ones make more workgroups.
 */
export function prefillTiling(headDim: number, workgroupBytes: number, maxQuads: number): PrefillVariant {
  const quads = quadsOf(headDim);
  for (let slice = Math.min(maxQuads, quads); slice >= 1; slice--) {
    const sliceQuads = Math.ceil(quads / Math.ceil(quads / slice));
    const lines = Math.floor((workgroupBytes - EXTRA_BYTES - quads * 4 * sliceQuads * 16) / (PIECE_LINES * 16));
    const line = lines % 2 === 1 ? lines : lines - 1;
    // A (8 quads a token) takes the same memory as the pieces: 5 · 64 quads hold it.
    if (line < 5) continue;
    const pieces = Math.ceil(quads / Math.min(line, MAX_PIECE_QUADS));
    return { headDim, sliceQuads, pieceQuads: Math.ceil(quads / pieces) };
  }
  throw new RangeError(
    `lightningAttention: ${workgroupBytes} bytes of workgroup memory hold no slice for D = ${headDim}`,
  );
}

export const prefillSlices = (v: PrefillVariant): number => Math.ceil(quadsOf(v.headDim) / v.sliceQuads);

/**
 * Buffers: rows, decay, qkv, state, out. Grid: x: heads · slices; y, z: rows (y: rows, z: chunks, where rows are cut).
 *
 * The slice of the state stays in workgroup memory while the row's blocks go by. Thread (i, c), c < 8, computes for token
 * i of the block A[i, c + 8e] and quad c of the slice of q S, in one walk over pieces of q and k; then quad c of A V.
 * For the state's update each thread takes tiles of four key channels times a quad, k and v straight from memory.
 */
export function prefillKernel(v: PrefillVariant): WebGpuKernel {
  const quads = quadsOf(v.headDim);
  const line = lineOf(v.pieceQuads);
  return {
    label: `lightning-attention prefill D=${v.headDim} slice=${v.sliceQuads * 4} piece=${v.pieceQuads * 4}${v.chunked ? " chunked" : ""}`,
    code: /* wgsl */ `
const D = ${v.headDim}u;
const D4 = ${quads}u;
const B = ${BLOCK_TOKENS}u;           // tokens of a block
const W4 = ${v.sliceQuads}u;          // quads of the slice
const SLICES = ${prefillSlices(v)}u;
const PIECE = ${v.pieceQuads}u;       // quads of a piece of q and k
const LINE = ${line}u;
const THREADS = ${PREFILL_THREADS}u;
${lightningParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4i>;         // firstToken, tokenCount, slot, past
@group(0) @binding(2) var<storage, read> decay: array<f32>;          // [H]
${access(v.headDim)}

var<workgroup> s: array<vec4f, ${quads * 4 * v.sliceQuads}>;         // [channel, W4]: the state's slice
var<workgroup> tile: array<vec4f, ${Math.max(PIECE_LINES * line, BLOCK_TOKENS * 8)}>;   // pieces of q, of k; then A [i, 8]
var<workgroup> powers: array<f32, B + 1u>;                           // exp(-slope n)

@compute @workgroup_size(${PREFILL_THREADS})
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32,
) {
  let row = ${v.chunked ? "group.y" : "group.z * groups.y + group.y"};
  if (row >= p.rows) { return; }
  let head = group.x / SLICES;
  let firstQuad = group.x % SLICES * W4;
  let sliceQuads = min(W4, D4 - firstQuad);
  let word = rows[row];
  let first = u32(word.x);
  let count = u32(word.y);
  let begin = ${v.chunked ? `group.z * ${CHUNK_TOKENS}u` : "0u"};
  let end = ${v.chunked ? `min(begin + ${CHUNK_TOKENS}u, count)` : "count"};
  if (begin >= end) { return; }
  if (word.z < 0) {
    for (var n = thread; n < (end - begin) * sliceQuads; n += THREADS) {
      storeOut((first + begin + n / sliceQuads) * p.heads + head, firstQuad + n % sliceQuads, vec4f(0.0));
    }
    return;
  }

  let stateLine = (${v.chunked ? "(row * p.chunks + group.z)" : "u32(word.z)"} * p.heads + head) * D;
  for (var n = thread; n < 4u * D4 * W4; n += THREADS) {
    var value = vec4f(0.0);
    if (n / W4 < D && n % W4 < sliceQuads) { value = loadState(stateLine + n / W4, firstQuad + n % W4); }
    s[n] = value;
  }
  let slope = decay[head];
  if (thread <= B) { powers[thread] = exp(-slope * f32(thread)); }

  let i = thread / 8u;
  let c = thread % 8u;
  for (var start = begin; start < end; start += B) {
    let m = min(B, end - start);
    let blockLine = (first + start) * p.heads + head;      // of out; of qkv three times that, q, k, v side by side

    var scores = vec4f(0.0);     // q_i · k_j for j = c + 8e
    var old = vec4f(0.0);        // q_i S
    for (var piece = 0u; piece < D4; piece += PIECE) {
      let pieceQuads = min(PIECE, D4 - piece);
      for (var n = thread; n < B * PIECE; n += THREADS) {
        let t = n / PIECE;
        let x = n % PIECE;
        var q = vec4f(0.0);
        var k = vec4f(0.0);
        if (t < m && x < pieceQuads) {
          let at = (blockLine + t * p.heads) * 3u;
          q = loadQkv(at, piece + x);
          k = loadQkv(at + 1u, piece + x);
        }
        tile[t * LINE + x] = q;
        tile[(B + t) * LINE + x] = k;
      }
      workgroupBarrier();
      for (var x = 0u; x < pieceQuads; x++) {
        let q = tile[i * LINE + x];
        let k = (B + c) * LINE + x;
        scores += vec4f(dot(q, tile[k]), dot(q, tile[k + 8u * LINE]), dot(q, tile[k + 16u * LINE]), dot(q, tile[k + 24u * LINE]));
        if (c < W4) {
          let at = (piece + x) * 4u * W4 + c;
          old += q.x * s[at] + q.y * s[at + W4] + q.z * s[at + 2u * W4] + q.w * s[at + 3u * W4];
        }
      }
      workgroupBarrier();
    }

    var decayed = vec4f(0.0);
    for (var e = 0u; e < 4u; e++) {
      let j = c + 8u * e;
      if (j <= i) { decayed[e] = scores[e] * powers[i - j]; }
    }
    tile[i * 8u + c] = decayed;
    workgroupBarrier();

    if (i < m && c < sliceQuads) {
      var sum = old * powers[i + 1u];
      for (var e = 0u; e < 4u; e++) {
        for (var j = 8u * e; j <= min(i, 8u * e + 7u); j++) {
          sum += tile[i * 8u + j - 8u * e][e] * loadQkv((blockLine + j * p.heads) * 3u + 2u, firstQuad + c);
        }
      }
      storeOut(blockLine + i * p.heads, firstQuad + c, sum);
    }
    for (var n = thread; n < D4 * W4; n += THREADS) {
      let r4 = n / W4;
      let column = n % W4;
      if (column >= sliceQuads) { continue; }
      let at = r4 * 4u * W4 + column;
      let keep = powers[m];
      var s0 = keep * s[at];
      var s1 = keep * s[at + W4];
      var s2 = keep * s[at + 2u * W4];
      var s3 = keep * s[at + 3u * W4];
      for (var j = 0u; j < m; j++) {
        let keyLine = (blockLine + j * p.heads) * 3u + 1u;
        let k = powers[m - 1u - j] * loadQkv(keyLine, r4);
        let value = loadQkv(keyLine + 1u, firstQuad + column);
        s0 += k.x * value;
        s1 += k.y * value;
        s2 += k.z * value;
        s3 += k.w * value;
      }
      s[at] = s0;
      s[at + W4] = s1;
      s[at + 2u * W4] = s2;
      s[at + 3u * W4] = s3;
    }
    workgroupBarrier();
  }

${v.chunked ? "" : storeSlice}
}`,
  };
}

const storeSlice = /* wgsl */ `
  for (var n = thread; n < D * W4; n += THREADS) {
    if (n % W4 < sliceQuads) { storeState(stateLine + n / W4, firstQuad + n % W4, s[n]); }
  }`;

const CHUNK_THREADS = 256;

/**
 * Buffers: rows, decay, qkv, sums [rows, chunks, H, D, D]. Grid: x: heads; y: rows; z: chunks.
 *
 * sums = Σ over tokens j of a chunk of n of λ^(n − 1 − j) k_jᵀ v_j. A thread takes four key channels times a quad.
 */
export function chunkSumsKernel(headDim: number): WebGpuKernel {
  return {
    label: `lightning-attention chunk sums D=${headDim}`,
    code: /* wgsl */ `
const D = ${headDim}u;
const D4 = ${quadsOf(headDim)}u;
${lightningParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4i>;         // firstToken, tokenCount, slot, past
@group(0) @binding(2) var<storage, read> decay: array<f32>;          // [H]
${accessState(headDim)}

@compute @workgroup_size(${CHUNK_THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let head = group.x;
  let row = group.y;
  let word = rows[row];
  let begin = group.z * ${CHUNK_TOKENS}u;
  let end = min(begin + ${CHUNK_TOKENS}u, u32(word.y));
  if (begin >= end || word.z < 0) { return; }
  let lambda = exp(-decay[head]);
  let stateLine = ((row * p.chunks + group.z) * p.heads + head) * D;
  for (var n = thread; n < D4 * D4; n += ${CHUNK_THREADS}u) {
    let r4 = n / D4;
    let c = n % D4;
    var s0 = vec4f(0.0);
    var s1 = vec4f(0.0);
    var s2 = vec4f(0.0);
    var s3 = vec4f(0.0);
    for (var j = begin; j < end; j++) {
      let keyLine = ((u32(word.x) + j) * p.heads + head) * 3u + 1u;
      let k = loadQkv(keyLine, r4);
      let value = loadQkv(keyLine + 1u, c);
      s0 = lambda * s0 + k.x * value;
      s1 = lambda * s1 + k.y * value;
      s2 = lambda * s2 + k.z * value;
      s3 = lambda * s3 + k.w * value;
    }
    let sums = array<vec4f, 4>(s0, s1, s2, s3);
    for (var e = 0u; e < min(4u, D - 4u * r4); e++) { storeState(stateLine + 4u * r4 + e, c, sums[e]); }
  }
}`,
  };
}

/**
 * Buffers: rows, decay, state [slots, H, D, D], sums. Grid: x: numbers of a row's state; y: rows.
 *
 * sums become the states before the chunks; state becomes the one behind the last.
 */
export function chunkScanKernel(headDim: number): WebGpuKernel {
  return {
    label: `lightning-attention chunk scan D=${headDim}`,
    code: /* wgsl */ `
const SQUARE = ${headDim * headDim}u;
${lightningParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4i>;         // firstToken, tokenCount, slot, past
@group(0) @binding(2) var<storage, read> decay: array<f32>;          // [H]
@group(0) @binding(3) var<storage, read_write> state: array<f32>;
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;     // [rows, chunks, H, D, D]

@compute @workgroup_size(${CHUNK_THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = group.x * ${CHUNK_THREADS}u + thread;
  let size = p.heads * SQUARE;
  let row = group.y;
  let word = rows[row];
  if (index >= size || word.z < 0) { return; }
  let count = u32(word.y);
  let slope = decay[index / SQUARE];
  var s = state[u32(word.z) * size + index];
  var at = row * p.chunks * size + index;
  for (var begin = 0u; begin < count; begin += ${CHUNK_TOKENS}u) {
    let sum = sums[at];
    sums[at] = s;
    s = exp(-slope * f32(min(${CHUNK_TOKENS}u, count - begin))) * s + sum;
    at += size;
  }
  state[u32(word.z) * size + index] = s;
}`,
  };
}

/** Workgroups of `chunkScan` for a row. */
export const chunkScanGroups = (heads: number, headDim: number): number =>
  Math.ceil((heads * headDim * headDim) / CHUNK_THREADS);
