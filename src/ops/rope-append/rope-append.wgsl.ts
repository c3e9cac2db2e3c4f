/** WebGPU kernel of rope-append: a workgroup takes four heads of a token, sixteen lanes a head. */

import type { WebGpuKernel } from "../../device/webgpu/kernel.js";
import { params } from "../../device/webgpu/params.js";
import { PAGE_TOKENS } from "../attention/kv-pages.js";
import { type KvStore, kvStore, kvStores } from "../attention/kv-pages.wgsl.js";
import { LOW_POSITIONS } from "../rope/rope.js";

export interface RopeAppendVariant {
  readonly store: KvStore;
  readonly headDim: number;
  readonly rope: boolean;
  readonly qNorm: boolean;
  readonly kNorm: boolean;
}

/** Heads of a workgroup. */
export const HEADS_PER_GROUP = 4;

export const ropeAppendParams = params({
  tokens: "u32",
  heads: "u32",
  kvHeads: "u32",
  /** First head column of this launch: 0, or H where q has been rotated by an earlier segment's launch. */
  firstHead: "u32",
  rotaryDim: "u32",
  highLines: "u32",
  pagesPerSlot: "u32",
  firstPage: "i32",
  pages: "i32",
  eps: "f32",
});

/** Buffers in order: qkv, tokens, pageTable, keys, values, then the rope table, qNorm, kNorm as far as the variant has them. */
export function ropeAppendKernel(v: RopeAppendVariant): WebGpuKernel {
  let binding = 5;
  const optional = (present: boolean, name: string) => {
    if (!present) return "";
    binding += 1;
    return `@group(0) @binding(${binding}) var<storage, read> ${name}: array<f32>;`;
  };
  const normalise = (name: string, present: boolean) =>
    present ? `return x[at] * inverseRms * ${name}[at % D];` : "return x[at];";
  return {
    label: `rope-append ${v.store} D=${v.headDim}${v.rope ? " rope" : ""}${v.qNorm ? " q-norm" : ""}${v.kNorm ? " k-norm" : ""}`,
    code: /* wgsl */ `
const D = ${v.headDim}u;
const HEADS = ${HEADS_PER_GROUP}u;
const LANES = 16u;
const PAGE = ${PAGE_TOKENS}u;
const LOW = ${LOW_POSITIONS}u;
${ropeAppendParams.wgsl}
${kvStore[v.store]}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> qkv: array<vec2f>;  // [T, H + 2G, D]
@group(0) @binding(2) var<storage, read> tokens: array<vec4i>;     // id, position, row, slot
@group(0) @binding(3) var<storage, read> pageTable: array<i32>;    // [slots, pagesPerSlot]
@group(0) @binding(4) var<storage, read_write> keys: array<Kv2>;   // [pages, G, PAGE, D]
@group(0) @binding(5) var<storage, read_write> values: array<Kv2>;
${optional(v.rope, "table")}
${optional(v.qNorm, "qWeight")}
${optional(v.kNorm, "kWeight")}

// Whole heads are here before anything is written: q is rotated in place, and a lane reads its partner's channels.
var<workgroup> x: array<f32, HEADS * D>;
var<workgroup> squares: array<f32, HEADS * LANES>;

fn q(at: u32, inverseRms: f32) -> f32 { ${normalise("qWeight", v.qNorm)} }
fn k(at: u32, inverseRms: f32) -> f32 { ${normalise("kWeight", v.kNorm)} }
fn normalised(at: u32, isQuery: bool, inverseRms: f32) -> f32 {
  if (isQuery) { return q(at, inverseRms); }
  return k(at, inverseRms);
}

fn rotated(start: u32, channel: u32, position: u32, isQuery: bool, inverseRms: f32) -> f32 {
  let own = normalised(start + channel, isQuery, inverseRms);
${
  v.rope
    ? `
  if (channel >= p.rotaryDim) { return own; }
  let half = p.rotaryDim / 2u;
  let isSecond = channel >= half;
  let pair = select(channel, channel - half, isSecond);
  let low = (position % LOW) * p.rotaryDim + pair;
  let high = (LOW + min(position / LOW, p.highLines - 1u)) * p.rotaryDim + pair;
  let cosine = table[low] * table[high] - table[low + half] * table[high + half];
  let sine = table[low + half] * table[high] + table[low] * table[high + half];
  let partner = normalised(start + select(channel + half, channel - half, isSecond), isQuery, inverseRms);
  return own * cosine + select(-partner, partner, isSecond) * sine;`
    : "  return own;"
}
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32,
) {
  let columns = p.heads + 2u * p.kvHeads;
  let groupsPerToken = (columns - p.firstHead + HEADS - 1u) / HEADS;
  let index = group.x + group.y * groups.x;
  let token = index / groupsPerToken;
  if (token >= p.tokens) { return; }

  let local = lane / LANES;
  let head = p.firstHead + (index % groupsPerToken) * HEADS + local;
  let source = (token * columns + head) * (D / 2u);
  let start = local * D;
  var sum = 0.0;
  if (head < columns) {
    for (var c = lane % LANES; c < D / 2u; c += LANES) {
      let pair = qkv[source + c];
      x[start + 2u * c] = pair.x;
      x[start + 2u * c + 1u] = pair.y;
      sum += dot(pair, pair);
    }
  }
  squares[lane] = sum;
  workgroupBarrier();
  if (head >= columns) { return; }

  var total = 0.0;
  for (var i = 0u; i < LANES; i++) { total += squares[local * LANES + i]; }
  let inverseRms = inverseSqrt(total / f32(D) + p.eps);

  let word = tokens[token];
  let position = u32(max(word.y, 0));
  if (head < p.heads) {
    for (var c = lane % LANES; c < D / 2u; c += LANES) {
      qkv[source + c] = vec2f(
        rotated(start, 2u * c, position, true, inverseRms),
        rotated(start, 2u * c + 1u, position, true, inverseRms),
      );
    }
    return;
  }
  if (word.w < 0 || position / PAGE >= p.pagesPerSlot) { return; }
  let page = pageTable[u32(word.w) * p.pagesPerSlot + position / PAGE] - p.firstPage;
  if (page < 0 || page >= p.pages) { return; }
  let isValue = head >= p.heads + p.kvHeads;
  let kvHead = head - p.heads - select(0u, p.kvHeads, isValue);
  let destination = ((u32(page) * p.kvHeads + kvHead) * PAGE + position % PAGE) * (D / 2u);
  for (var c = lane % LANES; c < D / 2u; c += LANES) {
    if (isValue) {
      values[destination + c] = narrow(vec2f(x[start + 2u * c], x[start + 2u * c + 1u]));
    } else {
      keys[destination + c] = narrow(vec2f(
        rotated(start, 2u * c, position, false, inverseRms),
        rotated(start, 2u * c + 1u, position, false, inverseRms),
      ));
    }
  }
}`,
  };
}

/** Every storage type and option, at head sizes that stand for all: smaller than a lane row, odd multiples, the largest. */
export function ropeAppendVariants(): WebGpuKernel[] {
  const options = [false, true];
  return kvStores.flatMap((store) =>
    options.flatMap((rope) =>
      options.flatMap((qNorm) =>
        options.flatMap((kNorm) =>
          [8, 80, 256].map((headDim) => ropeAppendKernel({ store, headDim, rope, qNorm, kNorm })),
        ),
      ),
    ),
  );
}
