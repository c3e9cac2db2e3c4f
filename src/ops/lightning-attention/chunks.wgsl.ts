/**
 * WebGPU kernels of lightning attention for rows of any length, in chunks of C = 64 tokens.
 *
 *   states   what k and v of the chunks add to the state; walking along a row, the states before its chunks
 *   scan     where rows are not walked: from the chunks' sums to the states before them
 *   outputs  all chunks side by side: O = [diag(λ^(i + 1)) Q | (Q Kᵀ) ⊙ λ^(i − j)] · [S; V]
 *
 * All three are tiled products: a thread keeps 8 × 4 or 8 × 8 results in registers. Both operands pass through workgroup
 * memory in pieces of 16 along the sum, while the next piece is under way. 16 KiB of workgroup memory are enough.
 *
 * Chunks of all rows are numbered without knowing the rows' lengths: row r begins at ⌊firstToken / C⌋ + r, which leaves room
 * for each row's broken chunk.
 */
import type { WebGpuKernel } from "../../device/index.js";
import { lightningParams, lines, quadsOf } from "./lightning-attention.wgsl.js";

/** C. */
export const CHUNK_TOKENS = 64;

/** Numbers of chunks that a step may use. */
export const chunkSlots = (tokens: number, rows: number): number => Math.floor(tokens / CHUNK_TOKENS) + rows;

const THREADS = 128;
/** Of a piece of q and k. Twice as many were slower on an H100. */
const PIECE_QUADS = 4;

/** What all kernels begin with; `rowOfChunk` gives a row and the chunk's number in it, or a row beyond the last. */
const head = (headDim: number): string => /* wgsl */ `
const D = ${headDim}u;
const D4 = ${quadsOf(headDim)}u;
const C = ${CHUNK_TOKENS}u;            // tokens of a chunk
${lightningParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4i>;         // firstToken, tokenCount, slot, past
@group(0) @binding(2) var<storage, read> decay: array<f32>;          // [H]
fn firstChunk(row: u32) -> u32 { return u32(rows[row].x) / C + row; }`;

const rowOfChunk = /* wgsl */ `
fn rowOfChunk(chunk: u32) -> vec2u {
  for (var row = 0u; row < p.rows; row++) {
    let first = firstChunk(row);
    if (chunk >= first && (chunk - first) * C < u32(rows[row].y)) { return vec2u(row, chunk - first); }
  }
  return vec2u(p.rows, 0u);
}`;

export interface StatesVariant {
  readonly headDim: number;
  /** A workgroup walks along a row, from and to `state`; else it takes one chunk, from zero. */
  readonly walk: boolean;
  /**
   * What q and dO of a chunk add to the gradient of the state before it, in the place of what k and v add to the state
   * behind it. Never walks.
   */
  readonly isGradient?: boolean;
}

/** Tiles of 64 × 64 that a head's state is made of. */
export const stateTiles = (headDim: number): number => Math.ceil(headDim / 64) ** 2;

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/**
 * Buffers: rows, decay, qkv, states [chunk, H, D, D], and `state` [slots, H, D, D] where rows are walked, or dOut for
 * gradients. Grid: x: heads · tiles; y: rows, or chunks.
 *
 * Thread (ty, tx) has key channels 4 ty … 4 ty + 3 and those 32 further, and quad tx of value channels.
 */
export function statesKernel(v: StatesVariant): WebGpuKernel {
  const across = Math.ceil(v.headDim / 64);
  // Tokens of a piece: many workgroups want little memory, few want few barriers.
  const step = v.walk ? 16 : 8;
  const pieceQuads = Math.min(16, quadsOf(v.headDim));
  const list = range(8);
  const loads = range(Math.ceil((step * pieceQuads) / THREADS));
  const loadPiece = (start: string, declare: string) =>
    loads
      .map(
        (e) => `${declare}k${e} = loadKeys(line, thread + ${e * THREADS}u, ${start}, end, slope, keyQuad);
${declare}v${e} = loadValues(line, thread + ${e * THREADS}u, ${start}, end, valueQuad);`,
      )
      .join("\n");
  // Threads beyond the head's channels repeat its last ones, and store nothing.
  const inPiece = (quad: string, end: number) => (pieceQuads >= end ? quad : `min(${quad}, QUADS - 1u)`);
  return {
    label: `lightning-attention ${v.isGradient ? "state gradients" : "states"} D=${v.headDim}${v.walk ? " walk" : ""}`,
    code: /* wgsl */ `
${head(v.headDim)}
${v.walk ? "" : rowOfChunk}
${lines("qkv", 3, v.headDim, "read")}        // [T, H, 3, D]
${lines("states", 4, v.headDim, "read_write")}     // [chunk, H, D, D]
${v.walk ? lines("state", 5, v.headDim, "read_write") : ""}
${v.isGradient ? lines("dOut", 5, v.headDim, "read") : ""}        // [T, H, D]
const ACROSS = ${across}u;
const STEP = ${step}u;           // tokens of a piece
const QUADS = ${pieceQuads}u;          // of a token in a piece: software adapters take long over workgroup memory
const SIDE = STEP * QUADS;

var<workgroup> pieces: array<vec4f, 4u * SIDE>;   // two of k, two of v: [token, quad]

fn loadKeys(line: u32, n: u32, start: u32, end: u32, slope: f32, firstQuad: u32) -> vec4f {
  let token = start + n / QUADS;
  let c = firstQuad + n % QUADS;
  if (n >= SIDE || token >= end || c >= D4) { return vec4f(); }
${
  v.isGradient
    ? `  // λ to the number of tokens up to this one.
  return exp(-slope * f32(token % C + 1u)) * loadQkv((line + token * p.heads) * 3u, c);`
    : `  // λ to the number of tokens that follow in the chunk.
  let weight = exp(-slope * f32(min((token / C + 1u) * C, end) - 1u - token));
  return weight * loadQkv((line + token * p.heads) * 3u + 1u, c);`
}
}
fn loadValues(line: u32, n: u32, start: u32, end: u32, firstQuad: u32) -> vec4f {
  let token = start + n / QUADS;
  let c = firstQuad + n % QUADS;
  if (n >= SIDE || token >= end || c >= D4) { return vec4f(); }
  return ${v.isGradient ? "loadDOut(line + token * p.heads, c)" : "loadQkv((line + token * p.heads) * 3u + 2u, c)"};
}

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let head = group.x / (ACROSS * ACROSS);
  let tile = group.x % (ACROSS * ACROSS);
  let keyQuad = tile / ACROSS * 16u;
  let valueQuad = tile % ACROSS * 16u;
${
  v.walk
    ? `
  let row = group.y + group.z * 65535u;
  if (row >= p.rows) { return; }
  let begin = 0u;`
    : `
  let place = rowOfChunk(group.y + group.z * 65535u);
  let row = place.x;
  if (row >= p.rows) { return; }
  let begin = place.y * C;`
}
  let word = rows[row];
  if (word.z < 0) { return; }
  let end = ${v.walk ? "u32(word.y)" : "min(begin + C, u32(word.y))"};
  let line = u32(word.x) * p.heads + head;
  let slope = decay[head];
  let ty = thread / 16u;
  let tx = thread % 16u;
  let key = keyQuad * 4u + ty * 4u;
  let quad = valueQuad + tx;
${
  v.walk
    ? `
  let stateLine = (u32(word.z) * p.heads + head) * D;
${list.map((r) => `  var s${r} = vec4f(); if (key + ${keyOf(r)}u < D && quad < D4) { s${r} = loadState(stateLine + key + ${keyOf(r)}u, quad); }`).join("\n")}`
    : list.map((r) => `  var s${r} = vec4f();`).join("\n")
}
  var chunkLine = ((firstChunk(row) + begin / C) * p.heads + head) * D;

${loadPiece("begin", "  var ")}
  var side = 0u;
  for (var start = begin; start < end; start += STEP) {
    // Two pieces of each: while one is used the other is written.
${loads
  .map(
    (e) => `    if (thread + ${e * THREADS}u < SIDE) {
      pieces[side * SIDE + thread + ${e * THREADS}u] = k${e};
      pieces[(2u + side) * SIDE + thread + ${e * THREADS}u] = v${e};
    }`,
  )
  .join("\n")}
    workgroupBarrier();
${loadPiece("start + STEP", "    ")}
${
  v.walk
    ? `
    if (start % C == 0u) {
      // The state before this chunk; then what the chunk's tokens leave of it.
${list.map((r) => `      if (key + ${keyOf(r)}u < D && quad < D4) { storeStates(chunkLine + key + ${keyOf(r)}u, quad, s${r}); }`).join("\n")}
      chunkLine += p.heads * D;
      let keep = exp(-slope * f32(min(C, end - start)));
${list.map((r) => `      s${r} *= keep;`).join("\n")}
    }`
    : ""
}
    for (var t = 0u; t < STEP; t++) {
      let key0 = pieces[side * SIDE + t * QUADS + ${inPiece("ty", 8)}];
      let key1 = pieces[side * SIDE + t * QUADS + ${inPiece("8u + ty", 16)}];
      let value = pieces[(2u + side) * SIDE + t * QUADS + ${inPiece("tx", 16)}];
${list.map((r) => `      s${r} = fma(vec4f(key${r >> 2}[${r & 3}]), value, s${r});`).join("\n")}
    }
    side = 1u - side;
  }
${list
  .map((r) => {
    const store = v.walk ? "storeState(stateLine" : "storeStates(chunkLine";
    return `  if (key + ${keyOf(r)}u < D && quad < D4) { ${store} + key + ${keyOf(r)}u, quad, s${r}); }`;
  })
  .join("\n")}
}`,
  };
}

/** The key channel of a thread's result, or the token of its row, from the thread's first one on. */
const keyOf = (r: number): number => (r < 4 ? r : 28 + r);

/**
 * Buffers: rows, decay, state [slots, H, D, D], states. Grid: x: numbers of a row's state; y, z: rows.
 *
 * The chunks' sums become the states before them; `state` becomes the one behind the last. In reverse: sums of gradients become
 * the gradients of the states behind the chunks, and `state`, the gradient of the one behind the last, that of the one before
 * the first.
 */
export function scanKernel(headDim: number, isReverse = false): WebGpuKernel {
  return {
    label: `lightning-attention scan D=${headDim}${isReverse ? " reverse" : ""}`,
    code: /* wgsl */ `
${head(headDim)}
@group(0) @binding(3) var<storage, read_write> state: array<f32>;
@group(0) @binding(4) var<storage, read_write> states: array<f32>;   // [chunk, H, D, D]

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = group.x * ${THREADS}u + thread;
  let size = p.heads * D * D;
  let row = group.y + group.z * 65535u;
  if (index >= size || row >= p.rows) { return; }
  let word = rows[row];
  if (word.z < 0) { return; }
  let count = u32(word.y);
  let slope = decay[index / (D * D)];
  var s = state[u32(word.z) * size + index];
  let first = firstChunk(row);
  let chunks = (count + C - 1u) / C;
  for (var n = 0u; n < chunks; n++) {
    let chunk = ${isReverse ? "chunks - 1u - n" : "n"};
    let at = (first + chunk) * size + index;
    let sum = states[at];
    states[at] = s;
    s = exp(-slope * f32(min(C, count - chunk * C))) * s + sum;
  }
  state[u32(word.z) * size + index] = s;
}`,
  };
}

/** Workgroups of `scan` for a row. */
export const scanGroups = (heads: number, headDim: number): number => Math.ceil((heads * headDim * headDim) / THREADS);

/** Slices of value channels, at most 128 each. */
export const outputSlices = (headDim: number): number => Math.ceil(headDim / 128);

/**
 * Buffers: rows, decay, qkv, states, out. Grid: x: heads · slices; y, z: chunks.
 *
 * Thread (ty, tx) has tokens 4 ty … 4 ty + 3 and those 32 further; of the scores keys tx + 16 j; of the result quads tx and
 * tx + 16 of the slice. Keys 32 … 63 are hidden from tokens 0 … 31, so these products are left out.
 */
export function outputsKernel(headDim: number): WebGpuKernel {
  const slices = outputSlices(headDim);
  const width = Math.ceil(quadsOf(headDim) / slices);
  const quads = Math.min(PIECE_QUADS, quadsOf(headDim));
  // Quads of a piece of q, or k, that a thread stages.
  const staged = range((64 * PIECE_QUADS) / THREADS).map((n) => ({ n, token: (THREADS / PIECE_QUADS) * n }));
  const line = quads | 1;
  const columns = range(Math.ceil(width / 16));
  const list = range(8);
  const early = [0, 1, 2, 3];
  const late = [4, 5, 6, 7];
  const stateLoads = range(Math.ceil((4 * PIECE_QUADS * width) / THREADS));
  const valueLoads = range(Math.ceil((16 * width) / THREADS));
  const accumulate = (r: number, factor: string) =>
    columns.map((n) => `        acc${r}_${n} = fma(vec4f(${factor}), y${n}, acc${r}_${n});`).join("\n");
  const stageY = (loads: readonly number[], rows: number) =>
    loads.map((e) => `    storeY(thread + ${e * THREADS}u, nextY${e}, ${rows}u);`).join("\n");
  const loadQ = (quad: string) =>
    staged
      .map(({ n, token }) => `    nextQ${n} = quadOfQkv(line, stagedToken + ${token}u, ${quad}, 0u, m);`)
      .join("\n");
  const loadK = (quad: string) => loadQ(quad).replaceAll("nextQ", "nextK").replaceAll("0u, m)", "1u, m)");
  return {
    label: `lightning-attention outputs D=${headDim}`,
    code: /* wgsl */ `
${head(headDim)}
${rowOfChunk}
${lines("qkv", 3, headDim, "read")}        // [T, H, 3, D]
${lines("states", 4, headDim, "read")}     // [chunk, H, D, D]
${lines("out", 5, headDim, "read_write")}        // [T, H, D]
const SLICES = ${slices}u;
const WIDTH = ${width}u;           // quads of a slice
const QUADS = ${quads}u;            // of a piece of q or k
const LINE = ${line}u;             // an odd number of quads, so that lines lie in different banks
const TURNED = 17u;          // of a piece of scores, [key, quad of tokens]

var<workgroup> x: array<vec4f, ${Math.max(64 * line, 16 * 17)}>;   // q: [token, QUADS]; scores: [key, token]
var<workgroup> y: array<vec4f, ${Math.max(64 * line, 4 * quads * width, 16 * width)}>;   // k: [key, QUADS]; state or v: [row, WIDTH]

fn storeY(n: u32, value: vec4f, count: u32) { if (n < count * WIDTH) { y[n] = value; } }

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let chunk = group.y + group.z * 65535u;
  let place = rowOfChunk(chunk);
  if (place.x >= p.rows) { return; }
  let head = group.x / SLICES;
  let firstQuad = group.x % SLICES * WIDTH;
  let word = rows[place.x];
  let begin = place.y * C;
  let m = min(C, u32(word.y) - begin);
  let line = (u32(word.x) + begin) * p.heads + head;      // of out; of qkv three times that, q, k, v side by side
  let ty = thread / 16u;
  let tx = thread % 16u;
  let token = 4u * ty;
${list.flatMap((r) => columns.map((n) => `  var acc${r}_${n} = vec4f();`)).join("\n")}

  if (word.z >= 0) {
  let slope = decay[head];
  let stagedToken = thread / ${PIECE_QUADS}u;
  let stagedQuad = thread % ${PIECE_QUADS}u;

${early.map((r) => `  var s${r} = vec2f();`).join("\n")}
${late.map((r) => `  var s${r} = vec4f();`).join("\n")}
${staged.map(({ n }) => `  var nextQ${n}: vec4f; var nextK${n}: vec4f;`).join("\n")}
${loadQ("stagedQuad")}
${loadK("stagedQuad")}
  for (var quad = 0u; quad < D4; quad += QUADS) {
    workgroupBarrier();
    if (stagedQuad < QUADS) {
${staged
  .map(
    ({ n, token }) => `      x[(stagedToken + ${token}u) * LINE + stagedQuad] = nextQ${n};
      y[(stagedToken + ${token}u) * LINE + stagedQuad] = nextK${n};`,
  )
  .join("\n")}
    }
    workgroupBarrier();
${loadQ("quad + QUADS + stagedQuad")}
${loadK("quad + QUADS + stagedQuad")}
    for (var c = 0u; c < QUADS; c++) {
${range(4)
  .map((j) => `      let k${j} = y[(tx + ${16 * j}u) * LINE + c];`)
  .join("\n")}
${range(4)
  .map((e) => `      let turned${e} = vec4f(k0[${e}], k1[${e}], k2[${e}], k3[${e}]);`)
  .join("\n")}
${list
  .map(
    (r) => `      let q${r} = x[(token + ${keyOf(r)}u) * LINE + c];
${range(4)
  .map((e) =>
    r < 4
      ? `      s${r} = fma(vec2f(q${r}[${e}]), turned${e}.xy, s${r});`
      : `      s${r} = fma(vec4f(q${r}[${e}]), turned${e}, s${r});`,
  )
  .join("\n")}`,
  )
  .join("\n")}
    }
  }
${list
  .map((r) => {
    const [vector, whole, offsets] = r < 4 ? ["vec2f", "vec2i", "0, 16"] : ["vec4f", "vec4i", "0, 16, 32, 48"];
    return `  {
    let distance = ${whole}(i32(token + ${keyOf(r)}u) - i32(tx)) - ${whole}(${offsets});
    s${r} *= select(${vector}(0.0), exp(-slope * ${vector}(max(distance, ${whole}(0)))), distance >= ${whole}(0));
  }`;
  })
  .join("\n")}

  // q times the state before the chunk.
  let stateLine = (chunk * p.heads + head) * D;
${staged.map(({ n, token }) => `  let grown${n} = exp(-slope * f32(stagedToken + ${token + 1}u));`).join("\n")}
${loadQ("stagedQuad")}
${stateLoads.map((e) => `  var nextY${e} = quadOfState(stateLine, thread + ${e * THREADS}u, firstQuad, 0u);`).join("\n")}
  for (var quad = 0u; quad < D4; quad += QUADS) {
    workgroupBarrier();
    if (stagedQuad < QUADS) {
${staged.map(({ n, token }) => `      x[(stagedToken + ${token}u) * LINE + stagedQuad] = grown${n} * nextQ${n};`).join("\n")}
    }
${stageY(stateLoads, 4 * quads)}
    workgroupBarrier();
${loadQ("quad + QUADS + stagedQuad")}
${stateLoads.map((e) => `    nextY${e} = quadOfState(stateLine, thread + ${e * THREADS}u, firstQuad, 4u * (quad + QUADS));`).join("\n")}
    for (var c = 0u; c < QUADS; c++) {
${list.map((r) => `      let q${r} = x[(token + ${keyOf(r)}u) * LINE + c];`).join("\n")}
${range(4)
  .map(
    (e) => `      {
${columns.map((n) => `        let y${n} = y[(4u * c + ${e}u) * WIDTH + ${columnOf(n, width)}];`).join("\n")}
${list.map((r) => accumulate(r, `q${r}[${e}]`)).join("\n")}
      }`,
  )
  .join("\n")}
    }
  }

  // The scores times v, sixteen keys at a time.
${valueLoads.map((e) => `  nextY${e} = quadOfValue(line, thread + ${e * THREADS}u, firstQuad, 0u, m);`).join("\n")}
${range(4)
  .map(
    (j) => `
  if (m > ${16 * j}u) {
    workgroupBarrier();
${j < 2 ? `    x[tx * TURNED + ty] = vec4f(${early.map((r) => `s${r}[${j}]`).join(", ")});` : ""}
    x[tx * TURNED + 8u + ty] = vec4f(${late.map((r) => `s${r}[${j}]`).join(", ")});
${stageY(valueLoads, 16)}
    workgroupBarrier();
${j < 3 ? valueLoads.map((e) => `    nextY${e} = quadOfValue(line, thread + ${e * THREADS}u, firstQuad, ${16 * (j + 1)}u, m);`).join("\n") : ""}
    for (var key = 0u; key < 16u; key++) {
${j < 2 ? "      let a0 = x[key * TURNED + ty];" : ""}
      let a1 = x[key * TURNED + 8u + ty];
${columns.map((n) => `      let y${n} = y[key * WIDTH + ${columnOf(n, width)}];`).join("\n")}
${(j < 2 ? list : late).map((r) => accumulate(r, `a${r >> 2}[${r & 3}]`)).join("\n")}
    }
  }`,
  )
  .join("\n")}
  }

${list
  .flatMap((r) =>
    columns.map(
      (n) =>
        `  if (token + ${keyOf(r)}u < m && tx + ${16 * n}u < WIDTH && firstQuad + tx + ${16 * n}u < D4) {
    storeOut(line + (token + ${keyOf(r)}u) * p.heads, firstQuad + tx + ${16 * n}u, acc${r}_${n});
  }`,
    ),
  )
  .join("\n")}
}

// Quad c of q (part 0) or k (part 1) of the chunk's token t; zeros beyond the edges.
fn quadOfQkv(line: u32, t: u32, c: u32, part: u32, m: u32) -> vec4f {
  if (t >= m || c >= D4) { return vec4f(); }
  return loadQkv((line + t * p.heads) * 3u + part, c);
}
// Number n of a piece [4 QUADS, WIDTH] that begins at key channel d.
fn quadOfState(line: u32, n: u32, firstQuad: u32, d: u32) -> vec4f {
  let row = d + n / WIDTH;
  let c = firstQuad + n % WIDTH;
  if (row >= D || c >= D4) { return vec4f(); }
  return loadStates(line + row, c);
}
// The same of v, from token t on.
fn quadOfValue(line: u32, n: u32, firstQuad: u32, t: u32, m: u32) -> vec4f {
  let row = t + n / WIDTH;
  let c = firstQuad + n % WIDTH;
  if (n >= 16u * WIDTH || row >= m || c >= D4) { return vec4f(); }
  return loadQkv((line + row * p.heads) * 3u + 2u, c);
}`,
  };
}

/** A thread's column of a piece; threads beyond the slice repeat its last one, and store nothing. */
const columnOf = (n: number, width: number): string =>
  width >= 16 * (n + 1) ? `tx + ${16 * n}u` : `min(tx + ${16 * n}u, WIDTH - 1u)`;
