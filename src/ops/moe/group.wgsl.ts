/**
 * Pairs (token, choice) sorted by expert, those of one expert in their order, without atomics on their places.
 *
 *   order [T k]: pairs by expert;   starts [E + 1]: first place of each expert
 *
 * Few pairs: one launch, a workgroup an expert that walks all of them. Many: blocks of pairs count their experts, then each
 * block adds up the counts before it and places its own.
 */
import { params, type WebGpuDevice, type WebGpuKernel } from "../../device/index.js";
import { empty, type Tensor } from "../../tensor/index.js";
import { MAX_EXPERTS } from "../route-experts/route-experts.wgsl.js";

const groupParams = params({ pairs: "u32", experts: "u32" });

/** Each lane counts a stretch of the pairs, so that the order needs no atomics. */
const groupKernel: WebGpuKernel = {
  label: "moe group",
  code: /* wgsl */ `
${groupParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> experts: array<u32>;            // [T k]
@group(0) @binding(2) var<storage, read_write> order: array<u32>;        // [T k]
@group(0) @binding(3) var<storage, read_write> starts: array<u32>;       // [E + 1]
const WORKGROUP = 64u;
var<workgroup> counts: array<u32, WORKGROUP>;
var<workgroup> lower: array<u32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)   // one workgroup per expert
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let expert = group.x;
  let stretch = (p.pairs + WORKGROUP - 1u) / WORKGROUP;
  let begin = min(lane * stretch, p.pairs);
  let end = min(begin + stretch, p.pairs);
  var own = 0u;
  var before = 0u;
  for (var pair = begin; pair < end; pair++) {
    own += u32(experts[pair] == expert);
    before += u32(experts[pair] < expert);
  }
  counts[lane] = own;
  lower[lane] = before;
  workgroupBarrier();
  var start = 0u;
  var total = 0u;
  var place = 0u;
  for (var other = 0u; other < WORKGROUP; other++) {
    start += lower[other];
    total += counts[other];
    place += select(0u, counts[other], other < lane);
  }
  place += start;
  for (var pair = begin; pair < end; pair++) {
    if (experts[pair] == expert) {
      order[place] = pair;
      place++;
    }
  }
  if (lane == 0u) {
    starts[expert] = start;
    if (expert == p.experts - 1u) { starts[p.experts] = start + total; }
  }
}`,
};

/** From so many pairs on, blocks are faster: 32,768 pairs of 8 experts took the single launch 228 µs on an H100. */
const MANY_PAIRS = 4096;
const BLOCK = 256;

const blockHead = /* wgsl */ `
${groupParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> experts: array<u32>;            // [T k]
const WORKGROUP = 64u;
const BLOCK = ${BLOCK}u;
var<workgroup> own: array<u32, BLOCK>;                                   // E where there is no pair
fn load(block: u32, lane: u32) {
  for (var i = lane; i < BLOCK; i += WORKGROUP) {
    let pair = block * BLOCK + i;
    var expert = p.experts;
    if (pair < p.pairs) { expert = experts[pair]; }
    own[i] = expert;
  }
  workgroupBarrier();
}`;

const countKernel: WebGpuKernel = {
  label: "moe group counts",
  code: /* wgsl */ `
${blockHead}
@group(0) @binding(2) var<storage, read_write> counts: array<u32>;       // [blocks, E]

@compute @workgroup_size(WORKGROUP)   // one workgroup per block
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  load(group.x, lane);
  for (var expert = lane; expert < p.experts; expert += WORKGROUP) {
    var count = 0u;
    for (var i = 0u; i < BLOCK; i++) { count += u32(own[i] == expert); }
    counts[group.x * p.experts + expert] = count;
  }
}`,
};

const placeKernel: WebGpuKernel = {
  label: "moe group places",
  code: /* wgsl */ `
${blockHead}
@group(0) @binding(2) var<storage, read> counts: array<u32>;             // [blocks, E]
@group(0) @binding(3) var<storage, read_write> order: array<u32>;        // [T k]
@group(0) @binding(4) var<storage, read_write> starts: array<u32>;       // [E + 1]
var<workgroup> before: array<atomic<u32>, ${MAX_EXPERTS}>;               // of the blocks before this one
var<workgroup> total: array<atomic<u32>, ${MAX_EXPERTS}>;
var<workgroup> first: array<u32, ${MAX_EXPERTS}>;

@compute @workgroup_size(WORKGROUP)   // one workgroup per block
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  load(group.x, lane);
  for (var i = lane; i < groups.x * p.experts; i += WORKGROUP) {
    let count = counts[i];
    if (count > 0u) {
      atomicAdd(&total[i % p.experts], count);
      if (i < group.x * p.experts) { atomicAdd(&before[i % p.experts], count); }
    }
  }
  workgroupBarrier();
  if (lane == 0u) {
    var at = 0u;
    for (var expert = 0u; expert < p.experts; expert++) {
      first[expert] = at;
      if (group.x == 0u) { starts[expert] = at; }
      at += atomicLoad(&total[expert]);
    }
    if (group.x == 0u) { starts[p.experts] = at; }
  }
  workgroupBarrier();
  for (var i = lane; i < BLOCK; i += WORKGROUP) {
    let expert = own[i];
    if (expert >= p.experts) { continue; }
    var rank = 0u;
    for (var other = 0u; other < i; other++) { rank += u32(own[other] == expert); }
    order[first[expert] + atomicLoad(&before[expert]) + rank] = group.x * BLOCK + i;
  }
}`,
};

export interface Grouped {
  /** u32 [T k]. */
  readonly order: Tensor;
  /** u32 [E + 1]. */
  readonly starts: Tensor;
}

/** @param experts i32 [T, k]. */
export function groupPairs(device: WebGpuDevice, experts: Tensor, E: number, many = MANY_PAIRS): Grouped {
  const pairs = experts.size;
  const order = empty(device, [pairs], "u32", "moe order");
  const starts = empty(device, [E + 1], "u32", "moe starts");
  const params = groupParams.write({ pairs, experts: E });
  const cost = { bytes: 8 * pairs, operations: 0 };
  const blocks = Math.ceil(pairs / BLOCK);
  if (pairs < many || blocks > device.limits.maxWorkgroupsPerDimension) {
    device.run(groupKernel, { buffers: [experts, order, starts], params, grid: [E], cost });
  } else {
    using counts = empty(device, [blocks, E], "u32", "moe counts");
    device.run(countKernel, { buffers: [experts, counts], params, grid: [blocks], cost });
    device.run(placeKernel, { buffers: [experts, counts, order, starts], params, grid: [blocks], cost });
  }
  return { order, starts };
}

export const groupVariants = (): WebGpuKernel[] => [groupKernel, countKernel, placeKernel];
