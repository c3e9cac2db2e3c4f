/** WebGPU kernels of prepareKv: four heads of a token a workgroup, sixteen lanes a head; and the rows of kinds with rotary at read. */
import type { WebGpuKernel } from "../../device/webgpu/kernel.js";
import { params } from "../../device/webgpu/params.js";
import { hadamardSnippet } from "../fwht/fwht.wgsl.js";
import { rotationWgsl } from "../rope/rotation.wgsl.js";
import { packedEndWgsl } from "./packed-end.wgsl.js";
import { halfWgsl } from "./quantiser.wgsl.js";

/** Heads of a workgroup. */
export const HEADS_PER_GROUP = 4;

export interface PrepareVariant {
  readonly headDim: number;
  readonly rope: boolean;
  readonly qNorm: boolean;
  readonly kNorm: boolean;
  /** Widths of the transforms on q and k, on v; 0: none. */
  readonly keyRotation: number;
  readonly valueRotation: number;
  /** Pairs of the mean split; 0: none. */
  readonly meanPairs: number;
  /** A mean is taken off the values. */
  readonly valueMean: boolean;
  /** k and v are rounded to f16. */
  readonly toHalves: boolean;
}

export const prepareParams = params({
  tokens: "u32",
  heads: "u32",
  kvHeads: "u32",
  rotaryDim: "u32",
  highLines: "u32",
  eps: "f32",
  zero: "u32",
});

/** Numbers the bindings behind the fixed ones as far as a variant has them. */
function optionalBindings(first: number) {
  let binding = first;
  return (present: boolean, name: string, type = "f32", access = "read") => {
    if (!present) return "";
    binding += 1;
    return `@group(0) @binding(${binding - 1}) var<storage, ${access}> ${name}: array<${type}>;`;
  };
}

/** Buffers in order: qkv, tokens, then table, qNorm, kNorm, mean, pairs, meanTerms, valueMean as far as the variant has them. */
export function prepareKernel(v: PrepareVariant): WebGpuKernel {
  const optional = optionalBindings(3);
  const hasMean = v.meanPairs > 0;
  const hasNorm = v.qNorm || v.kNorm;
  const transforms = [...new Set([v.keyRotation, v.valueRotation])].filter((width) => width > 0);
  const transform = (width: number) =>
    `  hadamard${width}(start, lane % LANES, select(0u, D, ${[
      ...(v.keyRotation === width ? ["!isValue"] : []),
      ...(v.valueRotation === width ? ["isValue"] : []),
    ].join(" || ")}));`;
  const weight = (name: string, isPresent: boolean) =>
    isPresent ? `return inverseRms * ${name}[channel];` : "return 1.0;";
  return {
    label: `prepare-kv D=${v.headDim}${v.rope ? " rope" : ""}${v.qNorm ? " q-norm" : ""}${v.kNorm ? " k-norm" : ""} H=${v.keyRotation},${v.valueRotation}${hasMean ? ` mean=${v.meanPairs}` : ""}${v.valueMean ? " value-mean" : ""}${v.toHalves ? " halves" : ""}`,
    code: /* wgsl */ `
const D = ${v.headDim}u;
const HEADS = ${HEADS_PER_GROUP}u;
const LANES = 16u;
const PAIRS = ${v.meanPairs}u;
${prepareParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> qkv: array<f32>;    // [T, H + 2G, D]
@group(0) @binding(2) var<storage, read> tokens: array<vec4i>;     // id, position, row, slot
${optional(v.rope, "table")}
${optional(v.qNorm, "qWeight")}
${optional(v.kNorm, "kWeight")}
${optional(hasMean, "mean")}
${optional(hasMean, "pairs", "i32")}
${optional(hasMean, "meanTerms", "vec2f", "read_write")}
${optional(v.valueMean, "valueMean")}
${halfWgsl}
${v.rope ? rotationWgsl : ""}

// Whole heads are here before anything is written: pairs and transforms reach across lanes.
var<workgroup> x: array<f32, HEADS * D>;
${hasNorm ? "var<workgroup> squares: array<f32, HEADS * LANES>;" : ""}
${transforms.map((width) => hadamardSnippet({ name: `hadamard${width}`, array: "x", width, lanes: 16 })).join("")}

fn qFactor(channel: u32, inverseRms: f32) -> f32 { ${weight("qWeight", v.qNorm)} }
fn kFactor(channel: u32, inverseRms: f32) -> f32 { ${weight("kWeight", v.kNorm)} }
fn factor(isQuery: bool, channel: u32, inverseRms: f32) -> f32 {
  if (isQuery) { return qFactor(channel, inverseRms); }
  return kFactor(channel, inverseRms);
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32,
) {
  let columns = p.heads + 2u * p.kvHeads;
  let groupsPerToken = (columns + HEADS - 1u) / HEADS;
  let index = group.x + group.y * groups.x;
  let token = index / groupsPerToken;
  if (token >= p.tokens) { return; }
  let head = (index % groupsPerToken) * HEADS + lane / LANES;
  let isHere = head < columns;
  let isQuery = head < p.heads;
  let isValue = head >= p.heads + p.kvHeads;
  let source = (token * columns + head) * D;
  let start = (lane / LANES) * D;

  var sum = 0.0;
  for (var c = lane % LANES; c < D; c += LANES) {
    var value = 0.0;
    if (isHere) {
      value = qkv[source + c];
${v.valueMean ? "      if (isValue) { value -= valueMean[(head - p.heads - p.kvHeads) * D + c]; }" : ""}
    }
    x[start + c] = value;
    sum += value * value;
  }
${hasNorm ? "  squares[lane] = sum;" : ""}
  workgroupBarrier();

  var inverseRms = 1.0;
${
  hasNorm
    ? `
  var total = 0.0;
  for (var i = 0u; i < LANES; i++) { total += squares[lane / LANES * LANES + i]; }
  inverseRms = inverseSqrt(total / f32(D) + p.eps);`
    : ""
}
  let position = u32(max(tokens[token].y, 0));
  if (!isValue) {
    let rotary = ${v.rope ? "p.rotaryDim" : "0u"};
    for (var c = lane % LANES; c < D - rotary; c += LANES) {
      let channel = rotary + c;
      x[start + channel] *= factor(isQuery, channel, inverseRms);
    }
${
  v.rope
    ? `
    let half = rotary / 2u;
    for (var i = lane % LANES; i < half; i += LANES) {
      let turn = rotation(position, i, p.rotaryDim, p.highLines);
      let a = x[start + i] * factor(isQuery, i, inverseRms);
      let b = x[start + half + i] * factor(isQuery, half + i, inverseRms);
      x[start + i] = a * turn.x - b * turn.y;
      x[start + half + i] = b * turn.x + a * turn.y;
    }`
    : ""
}
  }
  workgroupBarrier();
${
  hasMean
    ? `
  if (isQuery) {
    let kvHead = head / (p.heads / p.kvHeads);
    let half = p.rotaryDim / 2u;
    for (var m = lane % LANES; m < PAIRS; m += LANES) {
      let i = u32(pairs[kvHead * PAIRS + m]);
      let q = vec2f(x[start + i], x[start + half + i]);
      let mu = vec2f(mean[kvHead * D + i], mean[kvHead * D + half + i]);
      meanTerms[(token * p.heads + head) * PAIRS + m] = vec2f(dot(q, mu), q.y * mu.x - q.x * mu.y);
    }
  }
  workgroupBarrier();`
    : ""
}
${transforms.map(transform).join("\n")}
  if (!isHere) { return; }
  for (var c = lane % LANES; c < D; c += LANES) {
    let value = x[start + c];
    qkv[source + c] = ${v.toHalves ? "select(halfValue(halfOf(sanitised(value))), value, isQuery)" : "value"};
  }
}`,
  };
}

export interface KeyRowsVariant {
  readonly headDim: number;
  /** Width of the transform's blocks; 0: none (then a workgroup takes a head). */
  readonly keyRotation: number;
  readonly ordered: boolean;
  readonly kNorm: boolean;
  /** raw: keys before rotary, in qkv. own: after it, in qkv. ring: after it, in the side store, of what the step packs. */
  readonly source: "raw" | "own" | "ring";
}

export const keyRowsParams = params({
  tokens: "u32",
  heads: "u32",
  kvHeads: "u32",
  rotaryDim: "u32",
  highLines: "u32",
  eps: "f32",
  inverseSquare: "f32",
  sinks: "i32",
  recent: "i32",
  ring: "i32",
  entries: "i32",
  zero: "u32",
});

/** Buffers in order: keyRows, tokens, then (ring) side, rows, cuts or else qkv, then table, kNorm, order as the variant has them. */
export function keyRowsKernel(v: KeyRowsVariant): WebGpuKernel {
  const optional = optionalBindings(3);
  const isRing = v.source === "ring";
  const width = v.keyRotation || v.headDim;
  return {
    label: `packed key rows ${v.source} D=${v.headDim} H=${v.keyRotation}${v.ordered ? " ordered" : ""}${v.kNorm ? " k-norm" : ""}`,
    code: /* wgsl */ `
const D = ${v.headDim}u;
const WIDTH = ${width}u;
${keyRowsParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> keyRows: array<f32>;  // [T, G·D]
@group(0) @binding(2) var<storage, read> tokens: array<vec4i>;       // id, position, row, slot
${optional(isRing, "side", "u32")}
${optional(isRing, "rows", "vec4i")}
${optional(isRing, "cuts", "vec2i")}
${optional(!isRing, "qkv")}
${optional(v.source !== "raw", "table")}
${optional(v.kNorm, "kWeight")}
${optional(v.ordered, "order", "i32")}
${halfWgsl}
${packedEndWgsl}
${v.source === "raw" ? "" : rotationWgsl}
var<workgroup> x: array<f32, WIDTH>;
${v.kNorm ? "var<workgroup> squares: array<f32, 64>;" : ""}
${v.keyRotation ? hadamardSnippet({ name: "hadamard", array: "x", width, lanes: 64 }) : ""}

fn key(base: u32, channel: u32) -> f32 {
${
  isRing
    ? "  let word = side[base + channel / 2u];\n  return halfValue((word >> (16u * (channel % 2u))) & 0xffffu);"
    : "  return qkv[base + channel];"
}
}

fn beforeRotary(base: u32, channel: u32, position: u32) -> f32 {
  let own = key(base, channel);
${
  v.source === "raw"
    ? "  return own;"
    : `
  let c = channel % D;
  if (c >= p.rotaryDim) { return own; }
  let half = p.rotaryDim / 2u;
  let isSecond = c >= half;
  let turn = rotation(position, select(c, c - half, isSecond), p.rotaryDim, p.highLines);
  let partner = key(base, select(channel + half, channel - half, isSecond));
  return (own * turn.x + select(partner, -partner, isSecond) * turn.y) * p.inverseSquare;`
}
}

// A workgroup takes one block of one token's row.
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32,
) {
  let channels = p.kvHeads * D;
  let blocks = channels / WIDTH;
  let index = group.x + group.y * groups.x;
  let token = index / blocks;
  if (token >= p.tokens) { return; }
  let first = index % blocks * WIDTH;
  let word = tokens[token];
${
  isRing
    ? `
  if (word.w < 0) { return; }
  let row = rows[word.z];
  let floor = cuts[word.w].x;
  let j = packedEnd(p.sinks, p.recent, 1, row.w, floor) + i32(token) - row.x;
  if (j >= row.w || j >= packedEnd(p.sinks, p.recent, 1, row.w + row.y, floor)) { return; }
  let base = u32(word.w * p.entries + p.sinks + j % p.ring) * channels;
  let position = u32(j);`
    : `
  let base = (token * (p.heads + 2u * p.kvHeads) + p.heads) * D;
  let position = u32(max(word.y, 0));`
}
${
  v.kNorm
    ? `
  // The heads that the block touches, one after the other.
  let last = (first + WIDTH - 1u) / D;
  for (var head = first / D; head <= last; head++) {
    var sum = 0.0;
    for (var c = lane; c < D; c += 64u) { let value = key(base, head * D + c); sum += value * value; }
    squares[lane] = sum;
    workgroupBarrier();
    var total = 0.0;
    for (var i = 0u; i < 64u; i++) { total += squares[i]; }
    let inverseRms = inverseSqrt(total / f32(D) + p.eps);
    for (var c = lane; c < D; c += 64u) {
      let channel = head * D + c;
      if (channel >= first && channel < first + WIDTH) { x[channel - first] = key(base, channel) * inverseRms * kWeight[c]; }
    }
    workgroupBarrier();
  }`
    : `
  for (var c = lane; c < WIDTH; c += 64u) { x[c] = beforeRotary(base, first + c, position); }
  workgroupBarrier();`
}
${v.keyRotation ? "  hadamard(0u, lane, WIDTH);" : ""}
  let to = token * channels;
${
  v.ordered
    ? `
  // Each block looks through the order for the channels that it has.
  for (var c = lane; c < channels; c += 64u) {
    let wanted = u32(order[c]);
    if (wanted >= first && wanted < first + WIDTH) { keyRows[to + c] = x[wanted - first]; }
  }`
    : "  for (var c = lane; c < WIDTH; c += 64u) { keyRows[to + first + c] = x[c]; }"
}
}`,
  };
}

/** Head sizes and widths that stand for all, with and without each option. */
export function prepareVariants(): WebGpuKernel[] {
  const plain = {
    rope: true,
    qNorm: false,
    kNorm: false,
    keyRotation: 0,
    valueRotation: 0,
    meanPairs: 0,
    valueMean: false,
    toHalves: false,
  };
  const prepare = [
    { ...plain, headDim: 20, rope: false },
    { ...plain, headDim: 64, keyRotation: 64, valueRotation: 64, toHalves: true, qNorm: true },
    { ...plain, headDim: 80, keyRotation: 16, valueRotation: 0, kNorm: true },
    { ...plain, headDim: 96, keyRotation: 0, valueRotation: 32, meanPairs: 7, valueMean: true },
    { ...plain, headDim: 256, keyRotation: 256, valueRotation: 128, qNorm: true, kNorm: true, meanPairs: 128 },
  ].map(prepareKernel);
  const rows = (["raw", "own", "ring"] as const).flatMap((source) =>
    [0, 16, 512].flatMap((keyRotation) =>
      [false, true].map((ordered) =>
        keyRowsKernel({ headDim: 80, keyRotation, ordered, source, kNorm: source === "raw" && ordered }),
      ),
    ),
  );
  return [...prepare, ...rows];
}
