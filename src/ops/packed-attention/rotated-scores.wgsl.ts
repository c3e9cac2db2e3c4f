/**
 * WebGPU kernel: a decode step's scores against keys that were packed before rotary, for rows that are a power of two wide.
 *
 * The same as `scores` of restore.wgsl.ts, with the Hadamard transform in registers. 4096 numbers, one row or several, cross
 * workgroup memory twice: thread t takes units t, t + 128, … of codes apart and puts each number where the order says; then
 * it holds 32 adjacent channels (five stages of the transform) and puts them back; then channels lane + 32·k of k = 0 … 31
 * (up to four more stages, rotary, products with q). One number in 33 is left out, so that no two lanes meet in a bank.
 */
import type { WebGpuKernel } from "../../device/webgpu/kernel.js";
import { hasParams, PACKED_PAGE_TOKENS, type PackedFormat, pageSections } from "../packed-kv/format.js";
import { LOW_POSITIONS } from "../rope/rope.js";
import { packedEndWgsl } from "./packed-end.wgsl.js";
import { restoreParams } from "./restore.wgsl.js";
import { each, literal, unitOf, unpackUnit, upTo } from "./unpack.wgsl.js";

export interface RotatedScoresVariant {
  readonly format: PackedFormat;
  readonly headsPerKvHead: 1 | 2;
  /** Adjacent token slots that a workgroup takes: a divisor of a page. */
  readonly tokens: 16 | 64;
  /** Of 32 lanes or more; without, sums meet in workgroup memory. */
  readonly subgroups: boolean;
}

const THREADS = 128;
const TILE = 4096;
/** Bytes of workgroup memory. */
export const ROTATED_SCORES_BYTES = (TILE + TILE / 32) * 4;

/** Whether the kernel can take a format; the rotary dimension must be D as well. */
export function canRotateInRegisters(format: PackedFormat, headsPerKvHead: number): headsPerKvHead is 1 | 2 {
  const { headDim, kvHeads, keys, keyRotation } = format;
  const channels = headDim * kvHeads;
  const wide = channels >= 256 && channels <= TILE && (channels & (channels - 1)) === 0;
  const paired = headDim === 64 || headDim === 128 || headDim === 256;
  return wide && paired && keyRotation <= 512 && keys.bits < 8 && hasParams(keys) && headsPerKvHead <= 2;
}

/** Buffers and grid as `restoreKernel`, with v.tokens in the place of RESTORE_TOKENS. */
export function rotatedScoresKernel(v: RotatedScoresVariant): WebGpuKernel {
  const { format, headsPerKvHead } = v;
  const { headDim, kvHeads, keys, keyRotation, ordered } = format;
  const channels = headDim * kvHeads;
  const rowsAtOnce = TILE / channels;
  const sections = pageSections(keys, kvHeads, headDim);
  const unit = unitOf(keys.bits);
  const units = upTo(TILE / unit.channels / THREADS);
  const groups = headDim / keys.group;
  const codes = upTo(unit.channels);
  const half = headDim / 2;
  /** Of local number k: bits 5 … 9 of its place in the tile. */
  const local = upTo(32);
  const firstOfPair = local.filter((k) => ((32 * k) & half) === 0);
  /** Pairs of channels and rows of the tile that need a rotation of their own. */
  const turnOf = (k: number) => {
    const pair = Math.floor((32 * k) % half) / 32;
    const row = channels < 1024 ? Math.floor((32 * k) / channels) : 0;
    return { pair, row, name: `turn${row}_${pair}` };
  };
  const turns = [...new Map(firstOfPair.map((k) => [turnOf(k).name, turnOf(k)])).values()];
  /** Sums of a thread: a head, or a head of a row, for each query head that shares it. */
  const sumCount = (1024 / headDim) * headsPerKvHead;
  const sumOf = (k: number, shared: number) => `sum${Math.floor((32 * k) / headDim) * headsPerKvHead + shared}`;
  const scale = 1 / Math.sqrt(Math.max(keyRotation, 1));
  const gather = () => {
    const lines: string[] = [];
    let count = sumCount;
    for (let bit = 16; bit >= 1; bit /= 2) {
      if (count > 1) {
        count /= 2;
        for (const i of upTo(count)) {
          const [a, b] = [`sum${i}`, `sum${i + count}`];
          lines.push(
            `      let give${bit}_${i} = select(${b}, ${a}, (lane & ${bit}u) != 0u);`,
            `      ${a} = select(${a}, ${b}, (lane & ${bit}u) != 0u) + subgroupShuffleXor(give${bit}_${i}, ${bit}u);`,
          );
        }
      } else lines.push(`      sum0 += subgroupShuffleXor(sum0, ${bit}u);`);
    }
    return lines.join("\n");
  };
  const spare = 32 / sumCount; // lanes that hold the same sum

  return {
    label: `packed attention rotated scores in registers ${keys.bits} G=${kvHeads} D=${headDim} block=${keyRotation}`,
    code: /* wgsl */ `${v.subgroups ? "enable subgroups;" : ""}
const D = ${headDim}u;
const G = ${kvHeads}u;
const C = ${channels}u;
const SHARED = ${headsPerKvHead}u;
const PAGE = ${PACKED_PAGE_TOKENS}u;
const LOW = ${LOW_POSITIONS}u;
const THREADS = ${THREADS}u;
const TOKENS = ${v.tokens}u;
const KEY_WORDS = ${sections.words}u;
${restoreParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> keys: array<u32>;
@group(0) @binding(2) var<storage, read> pageTable: array<i32>;       // [slots, pagesPerSlot]
@group(0) @binding(3) var<storage, read> tokens: array<vec4i>;        // id, position, row, slot
@group(0) @binding(4) var<storage, read> cuts: array<vec2i>;          // [slots]: floor, shift
@group(0) @binding(5) var<storage, read> table: array<f32>;
@group(0) @binding(6) var<storage, read_write> scores: array<f32>;    // [T, H, stride]
@group(0) @binding(7) var<storage, read> qkv: array<f32>;             // [T, H + 2G, D]
${ordered ? "@group(0) @binding(8) var<storage, read> order: array<i32>;" : ""}

var<workgroup> x: array<f32, ${TILE + TILE / 32}>;

${packedEndWgsl(format)}
/** Where number e of the tile lies. */
fn padded(e: u32) -> u32 { return e + e / 32u; }
fn rotation(position: u32, pair: u32) -> vec2f {
  let low = (position % LOW) * D + pair;
  let high = (LOW + min(position / LOW, p.highLines - 1u)) * D + pair;
  let l = vec2f(table[low], table[low + D / 2u]);
  let h = vec2f(table[high], table[high + D / 2u]);
  return vec2f(l.x * h.x - l.y * h.y, l.y * h.x + l.x * h.y);
}

/** e: place in the tile of the head's first channel. */
fn finish(token: u32, first: u32, e: u32, sharing: u32, sum: f32) {
  let head = e % C / D * SHARED + sharing;
  scores[(token * p.heads + head) * p.stride + first + e / C] = sum * (p.scale * ${literal(Math.LOG2E * scale)});
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  let token = workgroup.y;
  let word = tokens[token];
  let slot = u32(max(word.w, 0));
  let end = select(packedEnd(word.y, cuts[slot].x), 0, word.w < 0);
  let lowest = max(word.y - p.window + 1, 0);
  let firstSlot = workgroup.x * TOKENS;
  if (i32(firstSlot) >= end || i32(firstSlot + TOKENS) <= lowest) { return; }
  let held = pageTable[slot * p.pagesPerSlot + firstSlot / PAGE] - p.firstPage;
  if (held < 0 || held >= p.pages) { return; }         // in another segment
  let page = u32(held) * KEY_WORDS;
  let lane = thread % 32u;
  let warp = thread / 32u;

  // What stays the same from row to row: where codes go, and q.
${each(units, (k) => {
  const channelAt = (c: number) => `(from${k} + ${unit.channelOf[c]!}u) % C`;
  const place = (c: number) => `padded(from${k} / C * C + ${ordered ? `u32(order[${channelAt(c)}])` : channelAt(c)})`;
  return `
  let from${k} = (thread + ${k * THREADS}u) * ${unit.channels}u;
  let row${k} = from${k} / C;
  let head${k} = from${k} % C / D;
  let within${k} = from${k} % D;
${each(
  codes.filter((c) => c % 2 === 0),
  (c) => `  let to${k}_${c} = ${place(c)} | (${place(c + 1)} << 16u);`,
)}`;
})}
  let base = lane + 1024u * warp;
${each(local, (k) =>
  each(upTo(headsPerKvHead), (s) => {
    const channel = `((base + ${32 * k}u) % C)`;
    return `  let q${k}_${s} = qkv[(token * (p.heads + 2u * G) + ${channel} / D * SHARED + ${s}u) * D + ${channel} % D];`;
  }),
)}

  for (var done = 0u; done < TOKENS; done += ${rowsAtOnce}u) {
    let first = firstSlot + done;
${each(units, (k) => {
  const line = `(head${k} * PAGE + (first + row${k}) % PAGE)`;
  const wordAt = `page + ${line} * ${sections.rowWords}u + within${k} / ${unit.channels}u`;
  const highAt = `page + ${line} * ${sections.rowWords}u + ${Math.ceil(headDim / 16)}u + within${k} / 32u`;
  const centre = literal(unit.centre);
  return `
    {
      let codes = keys[${wordAt}];
${keys.bits === 3 ? `      let high = keys[${highAt}] >> (within${k} % 32u);` : ""}
      let param = unpack2x16float(keys[page + ${sections.params}u + ${line} * ${groups}u + within${k} / ${keys.group}u]);
      let offset = fma(${centre}, param.x, param.y);
${unpackUnit(keys, "c", "codes", "high")}
${each(codes, (c) => {
  const place = c % 2 === 0 ? `to${k}_${c} & 0xffffu` : `to${k}_${c - 1} >> 16u`;
  const value = `c${c >> 2}.${"xyzw"[c % 4]}`;
  return `      x[${place}] = fma(${value}, param.x * ${literal(2 ** -unit.exponentOf[c]!)}, offset);`;
})}
    }`;
})}
    workgroupBarrier();
    {
      let at = thread * 33u;
${each(local, (i) => `      var a${i} = x[at + ${i}u];`)}
${butterflies(5, "a", keyRotation, 1)}
${each(local, (i) => `      x[at + ${i}u] = a${i};`)}
    }
    workgroupBarrier();
    {
      let at = lane + 1056u * warp;
${each(local, (k) => `      var b${k} = x[at + ${33 * k}u];`)}
${butterflies(5, "b", keyRotation, 32)}
      let rowBase = first + base / C;
${each(turns, ({ pair, row, name }) => `      let ${name} = rotation(rowBase + ${row}u, lane + ${32 * pair}u);`)}
${each(upTo(sumCount), (i) => `      var sum${i} = 0.0;`)}
${each(firstOfPair, (k) => {
  const other = k + half / 32;
  const turn = turnOf(k).name;
  return `
      {
        let a = b${k} * ${turn}.x - b${other} * ${turn}.y;
        let b = b${other} * ${turn}.x + b${k} * ${turn}.y;
${each(upTo(headsPerKvHead), (s) => `        ${sumOf(k, s)} = fma(q${k}_${s}, a, fma(q${other}_${s}, b, ${sumOf(k, s)}));`)}
      }`;
})}
${
  v.subgroups
    ? `
${gather()}
      let sum = lane / ${spare}u;
      let e = 1024u * warp + sum / SHARED * D;
      if (lane % ${spare}u == 0u) { finish(token, first, e, sum % SHARED, sum0); }`
    : `
      workgroupBarrier();
${each(upTo(sumCount), (i) => `      x[${i * THREADS}u + thread] = sum${i};`)}
      workgroupBarrier();
      for (var i = thread; i < ${sumCount * 4}u; i += THREADS) {
        var total = 0.0;
        for (var j = 0u; j < 32u; j++) { total += x[i / 4u * THREADS + i % 4u * 32u + j]; }
        finish(token, first, 1024u * (i % 4u) + i / 4u / SHARED * D, i / 4u % SHARED, total);
      }`
}
    }
    workgroupBarrier();
  }
}`,
  };
}

/** Stages of the transform on numbers name0 … name31, whose index counts in steps of `unit` channels; those within the block. */
function butterflies(stages: number, name: string, block: number, unit: number): string {
  const lines: string[] = [];
  for (let h = 1; h < 2 ** stages && h * unit < block; h *= 2) {
    for (let i = 0; i < 2 ** stages; i += 1) {
      if ((i & h) !== 0) continue;
      const [a, b] = [`${name}${i}`, `${name}${i + h}`];
      lines.push(`      { let difference = ${a} - ${b}; ${a} += ${b}; ${b} = difference; }`);
    }
  }
  return lines.join("\n");
}
