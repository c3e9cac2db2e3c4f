/**
 * WebGPU kernels that undo what a key went through before it was packed: kinds that apply rotary at every read (RotateKV).
 *
 * A workgroup takes a token's row of all heads at a time: codes become numbers, which go to the channels that they were
 * ordered from; then the Hadamard transform of the blocks, in workgroup memory; then rotary at the token's position. `scores`
 * multiplies the row with the queries of a decode step, `restore` writes it for prompt attention. Rows longer than the memory
 * go in parts of whole blocks and heads; each part reads all codes, as the order may cross them.
 */
import type { WebGpuKernel } from "../../device/webgpu/kernel.js";
import { params } from "../../device/webgpu/params.js";
import { PACKED_PAGE_TOKENS, type PackedFormat } from "../packed-kv/format.js";
import { LOW_POSITIONS } from "../rope/rope.js";
import { elementsWgsl } from "./elements.wgsl.js";
import { packedEndWgsl } from "./packed-end.wgsl.js";
import { literal } from "./unpack.wgsl.js";

export interface RestoreVariant {
  readonly format: PackedFormat;
  /** Query heads that share a key/value head; 0: rows are written (`restore`). */
  readonly headsPerKvHead: number;
  /** Channels of a part: see `restorePart`. */
  readonly part: number;
}

export const restoreParams = params({
  heads: "u32",
  pagesPerSlot: "u32",
  firstPage: "i32",
  pages: "i32",
  window: "i32",
  scale: "f32",
  rotaryDim: "u32",
  highLines: "u32",
  /** Token slots of a head in `scores`; or of a row in `restored`, the first of which is `fromSlot`. */
  stride: "u32",
  fromSlot: "u32",
});

/** Adjacent token slots that a workgroup takes one after the other: queries and the order are in the cache then. */
export const RESTORE_TOKENS = 16;

const THREADS = 128;
/** Numbers that a workgroup holds, in 16 KiB with room for the sums. */
const MOST_CHANNELS = 3840;

/** Channels of a part: the whole row, or as many whole blocks and heads as fit. 0: not even one block and head do. */
export function restorePart(format: PackedFormat): number {
  const { headDim, kvHeads, keyRotation } = format;
  const block = Math.max(keyRotation, 1);
  let unit = headDim;
  while (unit % block !== 0) unit += headDim;
  return Math.min(kvHeads * headDim, Math.floor(MOST_CHANNELS / unit) * unit);
}

/**
 * Buffers: keys, pageTable, tokens (or `rows`), cuts, the rotary table, `scores` [T, H, stride] (or `restored` f32
 * [R, stride, G, D]), then qkv (scores only) and `order` where there is one. Grid: [slots / RESTORE_TOKENS, T or R].
 */
export function restoreKernel(v: RestoreVariant): WebGpuKernel {
  const { format, headsPerKvHead, part } = v;
  const { headDim, kvHeads, keyRotation, ordered, strictPrefill } = format;
  const isScores = headsPerKvHead > 0;
  const channels = kvHeads * headDim;
  return {
    label: `packed attention ${isScores ? "rotated scores" : "restore"} ${format.keys.bits} G=${kvHeads} D=${headDim} block=${keyRotation}`,
    code: /* wgsl */ `
const D = ${headDim}u;
const D4 = ${headDim / 4}u;
const G = ${kvHeads}u;
const C = ${channels}u;
const PART = ${part}u;               // channels of a part: whole blocks, whole heads
const ROTATED = ${Math.max(keyRotation, 1)}u;
const NORM = ${literal(1 / Math.sqrt(Math.max(keyRotation, 1)))};
const SHARED = ${Math.max(headsPerKvHead, 1)}u;           // query heads of a key/value head
const PAGE = ${PACKED_PAGE_TOKENS}u;
const LOW = ${LOW_POSITIONS}u;
const THREADS = ${THREADS}u;
const TOKENS = ${RESTORE_TOKENS}u;
const LANES = 8u;                    // of a dot product
${restoreParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> keys: array<u32>;
@group(0) @binding(2) var<storage, read> pageTable: array<i32>;       // [slots, pagesPerSlot]
@group(0) @binding(3) var<storage, read> ${isScores ? "tokens: array<vec4i>;        // id, position, row, slot" : "rows: array<vec4i>;          // first token, count, slot, past"}
@group(0) @binding(4) var<storage, read> cuts: array<vec2i>;          // [slots]: floor, shift
@group(0) @binding(5) var<storage, read> table: array<f32>;
@group(0) @binding(6) var<storage, read_write> result: array<f32>;
${isScores ? "@group(0) @binding(7) var<storage, read> qkv: array<f32>;             // [T, H + 2G, D]" : ""}
${ordered ? `@group(0) @binding(${isScores ? 8 : 7}) var<storage, read> order: array<i32>;` : ""}

var<workgroup> x: array<f32, PART>;
var<workgroup> partial: array<f32, THREADS>;

${packedEndWgsl(format)}
${elementsWgsl("key", "keys", format.keys, kvHeads, headDim)}

fn rotation(position: u32, pair: u32) -> vec2f {
  let pairCount = p.rotaryDim / 2u;
  let low = (position % LOW) * p.rotaryDim + pair;
  let high = (LOW + min(position / LOW, p.highLines - 1u)) * p.rotaryDim + pair;
  let l = vec2f(table[low], table[low + pairCount]);
  let h = vec2f(table[high], table[high + pairCount]);
  return vec2f(l.x * h.x - l.y * h.y, l.y * h.x + l.x * h.y);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
${
  isScores
    ? `
  let token = workgroup.y;
  let word = tokens[token];
  let slot = u32(max(word.w, 0));
  let past = word.y;
  let end = select(packedEnd(past, cuts[slot].x), 0, word.w < 0);
  let lowest = max(past - p.window + 1, 0);`
    : `
  let row = rows[workgroup.y];
  let slot = u32(max(row.z, 0));
  let end = select(packedEnd(${strictPrefill ? "row.w + row.y - 1" : "row.w"}, cuts[slot].x), 0, row.z < 0);
  let lowest = max(row.w - p.window + 1, 0);`
}
  let firstSlot = p.fromSlot + workgroup.x * TOKENS;
  if (i32(firstSlot) >= end) { return; }
  let page = pageTable[slot * p.pagesPerSlot + firstSlot / PAGE] - p.firstPage;
  if (page < 0 || page >= p.pages) { return; }         // in another segment
  for (var position = firstSlot; position < min(firstSlot + TOKENS, u32(end)); position++) {
    if (i32(position) < lowest) { continue; }
    for (var first = 0u; first < C; first += PART) {
      let size = min(PART, C - first);
      for (var i = thread; i < C / 4u; i += THREADS) {
${ordered ? "" : "        if (i * 4u < first || i * 4u >= first + size) { continue; }"}
        let four = keyElements(u32(page), i / D4, position % PAGE, i % D4);
        for (var j = 0u; j < 4u; j++) {
          let place = ${ordered ? "u32(order[i * 4u + j])" : "i * 4u + j"} - first;
          if (place < size) { x[place] = four[j]; }
        }
      }
      workgroupBarrier();
      for (var h = 1u; h < ROTATED; h *= 2u) {
        for (var i = thread; i < size / 2u; i += THREADS) {
          let at = i / h * (2u * h) + i % h;
          let a = x[at];
          let b = x[at + h];
          x[at] = a + b;
          x[at + h] = a - b;
        }
        workgroupBarrier();
      }
      let half = p.rotaryDim / 2u;
      for (var i = thread; i < size / D * half; i += THREADS) {
        let at = i / half * D + i % half;
        let turn = rotation(position, i % half);
        let a = x[at];
        let b = x[at + half];
        x[at] = a * turn.x - b * turn.y;
        x[at + half] = b * turn.x + a * turn.y;
      }
      workgroupBarrier();
${
  isScores
    ? `
      let lane = thread % LANES;
      let headCount = size / D * SHARED;
      for (var firstHead = 0u; firstHead < headCount; firstHead += THREADS / LANES) {
        let head = firstHead + thread / LANES;
        var sum = 0.0;
        if (head < headCount) {
          let q = (token * (p.heads + 2u * G) + first / D * SHARED + head) * D;
          for (var c = lane; c < D; c += LANES) { sum = fma(qkv[q + c], x[head / SHARED * D + c], sum); }
        }
        partial[thread] = sum;
        workgroupBarrier();
        if (lane == 0u && head < headCount) {
          for (var i = 1u; i < LANES; i++) { sum += partial[thread + i]; }
          let at = (token * p.heads + first / D * SHARED + head) * p.stride + position;
          result[at] = sum * (p.scale * ${literal(Math.LOG2E)} * NORM);
        }
        workgroupBarrier();
      }`
    : `
      for (var i = thread; i < size; i += THREADS) {
        result[(workgroup.y * p.stride + position - p.fromSlot) * C + first + i] = x[i] * NORM;
      }
      workgroupBarrier();`
}
    }
  }
}`,
  };
}
