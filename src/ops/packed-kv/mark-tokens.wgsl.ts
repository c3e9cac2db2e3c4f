/** `markTokens` and `dropMarks` on WebGPU: a workgroup a token for the maxima, then a workgroup a row. */
import { params, type WebGpuKernel } from "../../device/index.js";
import { rowWgsl } from "../step/layout.wgsl.js";

export const markParams = params({
  /** Rows; of the maxima: tokens. */
  rows: "u32",
  channels: "u32",
  marked: "u32",
  skipWords: "u32",
  sinks: "u32",
  count: "u32",
  byEntries: "u32",
  ratio: "f32",
  outlier: "f32",
});

export const dropMarksParams = params({ slot: "u32", length: "u32", marked: "u32", skipWords: "u32" });

// Bits of |x|: as unsigned numbers they are ordered as the values, and NaN is found without a comparison that may be dropped.
const sizeWgsl = /* wgsl */ `
fn sizeBits(x: f32) -> u32 {
  let bits = bitcast<u32>(x) & 0x7fffffffu;
  return select(bits, 0u, bits > 0x7f800000u);
}`;

const maximumWgsl = /* wgsl */ `
var<workgroup> best: array<u32, WG>;
fn rowMaximum(first: u32, lane: u32) -> u32 {
  var m = 0u;
  for (var c = lane; c < p.channels; c += WG) { m = max(m, sizeBits(hidden[first + c])); }
  best[lane] = m;
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (lane < half) { best[lane] = max(best[lane], best[lane + half]); }
    workgroupBarrier();
  }
  return best[0];
}`;

const putWgsl = /* wgsl */ `
fn put(slot: u32, token: u32, score: f32) {
  if (token / 32u >= p.skipWords) { return; }
  for (var i = 0u; i < p.marked; i++) {
    if (markedTokens[slot * p.marked + i] < 0) {
      markedTokens[slot * p.marked + i] = i32(token);
      scores[slot * (p.marked + 1u) + i] = score;
      skips[slot * p.skipWords + token / 32u] |= 1u << (token % 32u);
      return;
    }
  }
}`;

export const tokenMaximaKernel: WebGpuKernel = {
  label: "mark-tokens maxima",
  code: /* wgsl */ `
${markParams.wgsl}
const WG = 64u;
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> hidden: array<f32>;          // [T, C]
@group(0) @binding(2) var<storage, read_write> maxima: array<f32>;    // [T]
${sizeWgsl}
${maximumWgsl}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32,
) {
  let token = group.x + group.y * groups.x;
  if (token >= p.rows) { return; }
  let m = rowMaximum(token * p.channels, lane);
  if (lane == 0u) { maxima[token] = bitcast<f32>(m); }
}`,
};

export const markRowsKernel: WebGpuKernel = {
  label: "mark-tokens rows",
  code: /* wgsl */ `
${markParams.wgsl}
${rowWgsl}
const WG = 128u;
const MOST = 64u;
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> hidden: array<f32>;               // [T, C]
@group(0) @binding(2) var<storage, read> maxima: array<f32>;               // [T]
@group(0) @binding(3) var<storage, read> rows: array<i32>;                 // [R, ROW_WORDS]
@group(0) @binding(4) var<storage, read_write> markedTokens: array<i32>;   // [slots, marked]
@group(0) @binding(5) var<storage, read_write> skips: array<u32>;          // [slots, skipWords]
@group(0) @binding(6) var<storage, read_write> scores: array<f32>;         // [slots, marked + 1]
var<workgroup> topSize: array<u32, WG>;
var<workgroup> topToken: array<u32, WG>;
var<workgroup> candidateSize: array<u32, MOST>;
var<workgroup> candidateToken: array<u32, MOST>;
var<workgroup> ahead: array<atomic<u32>, MOST>;
var<workgroup> below: atomic<u32>;
${sizeWgsl}
${putWgsl}

// a stands before b: larger, or as large and earlier.
fn isBefore(sizeA: u32, tokenA: u32, sizeB: u32, tokenB: u32) -> bool {
  return sizeA > sizeB || (sizeA == sizeB && tokenA < tokenB);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x * ROW_WORDS;
  let slot = rows[row + ROW_slot];
  let first = u32(rows[row + ROW_firstToken]);
  let count = u32(rows[row + ROW_tokenCount]);
  let past = u32(rows[row + ROW_past]);
  let candidates = min(min(p.count, MOST), count);

  // The first tokens in the order, one after the other: each the best of those behind the one before.
  for (var k = 0u; k < candidates; k++) {
    let hasLast = k > 0u;
    let lastSize = candidateSize[max(k, 1u) - 1u];
    let lastToken = candidateToken[max(k, 1u) - 1u];
    var size = 0u;
    var token = 0xffffffffu;
    for (var t = lane; t < count; t += WG) {
      let s = bitcast<u32>(maxima[first + t]);
      if (hasLast && !isBefore(lastSize, lastToken, s, t)) { continue; }
      if (token == 0xffffffffu || isBefore(s, t, size, token)) { size = s; token = t; }
    }
    topSize[lane] = size;
    topToken[lane] = token;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half /= 2u) {
      if (lane < half) {
        let other = topToken[lane + half];
        if (other != 0xffffffffu && (topToken[lane] == 0xffffffffu ||
            isBefore(topSize[lane + half], other, topSize[lane], topToken[lane]))) {
          topSize[lane] = topSize[lane + half];
          topToken[lane] = other;
        }
      }
      workgroupBarrier();
    }
    if (lane == 0u) {
      candidateSize[k] = topSize[0];
      candidateToken[k] = topToken[0];
    }
    workgroupBarrier();
  }

  // What stands before each candidate: tokens, or entries.
  if (lane < MOST) { atomicStore(&ahead[lane], select(lane, 0u, p.byEntries == 1u)); }
  workgroupBarrier();
  if (p.byEntries == 1u) {
    for (var j = 0u; j < candidates; j++) {
      let owner = candidateToken[j];
      for (var c = lane; c < p.channels; c += WG) {
        let s = sizeBits(hidden[(first + owner) * p.channels + c]);
        for (var k = 0u; k < candidates; k++) {
          if (s > candidateSize[k] || (s == candidateSize[k] && owner < candidateToken[k])) {
            atomicAdd(&ahead[k], 1u);
          } else if (s < candidateSize[candidates - 1u]) { break; }
        }
      }
    }
  }

  // The median: the least value that has more than ⌊(n − 1)/2⌋ values up to it, by halving the range of bits.
  let rank = (max(count, 1u) - 1u) / 2u;
  var low = 0u;
  var high = 0x7f800000u;
  for (var i = 0u; i < 31u; i++) {
    let middle = (low + high) / 2u;
    if (lane == 0u) { atomicStore(&below, 0u); }
    workgroupBarrier();
    var n = 0u;
    for (var t = lane; t < count; t += WG) { if (bitcast<u32>(maxima[first + t]) <= middle) { n += 1u; } }
    atomicAdd(&below, n);
    workgroupBarrier();
    if (atomicLoad(&below) > rank) { high = middle; } else { low = middle + 1u; }
    workgroupBarrier();
  }

  if (lane > 0u || slot < 0 || count == 0u) { return; }
  let s = u32(slot);
  let scoreBase = s * (p.marked + 1u);
  // Counted before any is put: the row's own marks must not count against it.
  for (var k = 0u; k < candidates; k++) {
    for (var i = 0u; i < p.marked; i++) {
      if (markedTokens[s * p.marked + i] >= 0 && bitcast<u32>(scores[scoreBase + i]) >= candidateSize[k]) {
        atomicAdd(&ahead[k], 1u);
      }
    }
  }
  for (var k = 0u; k < candidates; k++) {
    if (atomicLoad(&ahead[k]) >= p.count) { continue; }
    let token = past + candidateToken[k];
    if (token >= p.sinks) { put(s, token, bitcast<f32>(candidateSize[k])); }
  }
  scores[scoreBase + p.marked] = bitcast<f32>(high);
}`,
};

export const markDecodeKernel: WebGpuKernel = {
  label: "mark-tokens decode",
  code: /* wgsl */ `
${markParams.wgsl}
${rowWgsl}
const WG = 64u;
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> hidden: array<f32>;               // [T, C]; token t belongs to row t
@group(0) @binding(2) var<storage, read> rows: array<i32>;                 // [R, ROW_WORDS]
@group(0) @binding(3) var<storage, read_write> markedTokens: array<i32>;   // [slots, marked]
@group(0) @binding(4) var<storage, read_write> skips: array<u32>;          // [slots, skipWords]
@group(0) @binding(5) var<storage, read_write> scores: array<f32>;         // [slots, marked + 1]
${sizeWgsl}
${maximumWgsl}
${putWgsl}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x * ROW_WORDS;
  let m = bitcast<f32>(rowMaximum(u32(rows[row + ROW_firstToken]) * p.channels, lane));
  let slot = rows[row + ROW_slot];
  if (lane > 0u || slot < 0) { return; }
  let s = u32(slot);
  var least = -1.0;
  for (var i = 0u; i < p.marked; i++) {
    if (markedTokens[s * p.marked + i] < 0) { continue; }
    let score = scores[s * (p.marked + 1u) + i];
    least = select(min(least, score), score, least < 0.0);
  }
  let median = scores[s * (p.marked + 1u) + p.marked];
  if (least >= 0.0 && m > p.ratio * least && m > p.outlier * median) { put(s, u32(rows[row + ROW_past]), m); }
}`,
};

export const dropMarksKernel: WebGpuKernel = {
  label: "drop-marks",
  code: /* wgsl */ `
${dropMarksParams.wgsl}
const WG = 64u;
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> markedTokens: array<i32>;   // [slots, marked]
@group(0) @binding(2) var<storage, read_write> skips: array<u32>;          // [slots, skipWords]
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;         // [slots, marked + 1]

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  for (var i = lane; i < p.marked; i += WG) {
    if (markedTokens[p.slot * p.marked + i] >= i32(p.length)) { markedTokens[p.slot * p.marked + i] = -1; }
  }
  for (var w = p.length / 32u + lane; w < p.skipWords; w += WG) {
    let kept = select(0u, (1u << (p.length % 32u)) - 1u, w == p.length / 32u);
    skips[p.slot * p.skipWords + w] &= kept;
  }
  if (p.length == 0u) {
    for (var i = lane; i <= p.marked; i += WG) { scores[p.slot * (p.marked + 1u) + i] = 0.0; }
  }
}`,
};

export function markTokensVariants(): WebGpuKernel[] {
  return [tokenMaximaKernel, markRowsKernel, markDecodeKernel, dropMarksKernel];
}
