/**
 * WebGPU kernel of lightning attention in steps of one token a row, and what it shares with those for many (chunks.wgsl.ts).
 *
 * Numbers are taken four at a time along D. Head sizes that are no multiple of four get another set of loads and stores,
 * which fill up with zeros; the kernels' bodies are the same.
 */
import { params, type WebGpuKernel } from "../../device/index.js";

const DECODE_THREADS = 256;

export const quadsOf = (headDim: number): number => Math.ceil(headDim / 4);

/**
 * A storage variable of lines of D numbers, `load…(line, c)` and, where it is writable, `store…(line, c, value)`, c counting quads
 * of a line.
 */
export function lines(name: string, binding: number, headDim: number, access: "read" | "read_write"): string {
  const function_ = name.charAt(0).toUpperCase() + name.slice(1);
  const isWritable = access === "read_write";
  if (headDim % 4 === 0) {
    return /* wgsl */ `
@group(0) @binding(${binding}) var<storage, ${access}> ${name}: array<vec4f>;
fn load${function_}(line: u32, c: u32) -> vec4f { return ${name}[line * D4 + c]; }
${isWritable ? `fn store${function_}(line: u32, c: u32, value: vec4f) { ${name}[line * D4 + c] = value; }` : ""}`;
  }
  return /* wgsl */ `
@group(0) @binding(${binding}) var<storage, ${access}> ${name}: array<f32>;
fn load${function_}(line: u32, c: u32) -> vec4f {
  let at = line * D + 4u * c;
  // What is read behind the line's end, or the array's, is dropped: loads without branches do not wait for each other.
  let value = vec4f(${name}[at], ${name}[at + 1u], ${name}[at + 2u], ${name}[at + 3u]);
  return select(vec4f(), value, vec4u(4u * c) + vec4u(0u, 1u, 2u, 3u) < vec4u(D));
}
${
  isWritable
    ? `fn store${function_}(line: u32, c: u32, value: vec4f) {
  for (var e = 0u; e < min(4u, D - 4u * c); e++) { ${name}[line * D + 4u * c + e] = value[e]; }
}`
    : ""
}`;
}

export const lightningParams = params({
  heads: "u32",
  /** Rows of the step; in a decode step also its tokens. */
  rows: "u32",
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
 * Bound by memory: thread (lane, c) steps through four key rows at a time and keeps its part of q S; then the lanes' parts
 * are added.
 */
export function decodeKernel(v: DecodeVariant): WebGpuKernel {
  const quads = quadsOf(v.headDim);
  const units = decodeQuads(v.headDim);
  const lanes = Math.min(quads, Math.floor(DECODE_THREADS / units));
  const four = [0, 1, 2, 3];
  const isFull = v.headDim % 4 === 0;
  return {
    label: `lightning-attention decode D=${v.headDim}`,
    code: /* wgsl */ `
const D = ${v.headDim}u;
const D4 = ${quads}u;
const UNITS = ${units}u;     // quads of value columns of the slice
const LANES = ${lanes}u;     // threads that share the key rows
const SLICES = ${decodeSlices(v)}u;
const SHARES = ${Math.min(8, lanes)}u;
${lightningParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> tokens: array<vec4i>;       // id, position, row, slot
@group(0) @binding(2) var<storage, read> decay: array<f32>;          // [H]
${lines("qkv", 3, v.headDim, "read")}              // [T, H, 3, D]
${lines("state", 4, v.headDim, "read_write")}      // [slots, H, D, D]
${lines("out", 5, v.headDim, "read_write")}        // [T, H, D]

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
      let at = stateLine + 4u * r4;
      // All loads before the first store, as compilers keep the order of what may be the same memory.
${four.map((e) => `      let old${e} = loadState(${e === 0 ? "at" : isFull ? `at + ${e}u` : `min(at + ${e}u, stateLine + D - 1u)`}, c);`).join("\n")}
${four
  .map((e) => {
    const store = `storeState(at + ${e}u, c, next${e});`;
    return `      let next${e} = lambda * old${e} + k[${e}] * value;
      ${isFull ? store : `if (4u * r4 + ${e}u < D) { ${store} }`}
      sum += q[${e}] * next${e};`;
  })
  .join("\n")}
    }
  }
  parts[thread] = sum;
  workgroupBarrier();
  // In two rounds: the lanes' parts in eight shares, then the shares.
  if (thread < UNITS * SHARES) {
    for (var lane = thread / UNITS + SHARES; lane < LANES; lane += SHARES) { sum += parts[lane * UNITS + thread % UNITS]; }
    parts[thread] = sum;
  }
  workgroupBarrier();
  if (thread < UNITS) {
    for (var share = 1u; share < SHARES; share++) { sum += parts[share * UNITS + thread]; }
    storeOut(line, c, sum);
  }
}`,
  };
}
