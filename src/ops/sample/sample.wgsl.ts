/**
 * Sampling on WebGPU: one workgroup a row.
 *
 * One pass gives the raw maximum and sum (for the log-probability) and the largest penalised logit. Greedy rows end there,
 * with four barriers. Otherwise nothing is sorted: a threshold is found by descending three bits at a time, either through
 * the ranks of the logits (order-preserving integers, the largest logit has the smallest) or through the indices. A descent
 * answers "where does the running total of these weights cross this value" and serves top-k (weight 1), top-p
 * (probability), ties at top-p's cut (1, by index) and the draw itself (kept probability, by index). Weights are recomputed
 * from the logits in every pass, so no memory beyond the workgroup's is needed.
 *
 * exp is the CPU kernels' polynomial: WGSL's own is allowed to err by more at large arguments, and the devices should agree.
 */
import { params, type WebGpuKernel } from "../../device/index.js";
import { controlWgsl, rowWgsl } from "../step/layout.wgsl.js";

export const sampleParams = params({
  vocabulary: "u32",
  rows: "u32",
  /** Words of a slot in `seen`. */
  seenWords: "u32",
  /** Lowest bit of the first three bits of an index. */
  indexShift: "u32",
});

export type SampleResult = "token" | "probabilities";

export interface SampleVariant {
  readonly result: SampleResult;
  /** Threads of a workgroup. Few where the vocabulary is small: barriers are what costs then. */
  readonly lanes: 64 | 256;
}

const results: Record<
  SampleResult,
  { readonly bindings: string; readonly inactive: string; readonly greedy: string; readonly drawn: string }
> = {
  token: {
    bindings: "@group(0) @binding(4) var<storage, read_write> controls: array<u32>;  // [slots, CONTROL_WORDS]",
    inactive: "",
    greedy: "if (lane == 0u) { writeToken(control, greedy.index, raw); }",
    drawn: /* wgsl */ `
  if (lane == 0u) { writeToken(control, found.at, raw); }`,
  },
  probabilities: {
    bindings: /* wgsl */ `
@group(0) @binding(4) var<storage, read> controls: array<u32>;            // [slots, CONTROL_WORDS]
@group(0) @binding(5) var<storage, read_write> probabilities: array<f32>; // [R, V]`,
    inactive: "for (var i = lane; i < p.vocabulary; i += LANES) { probabilities[row * p.vocabulary + i] = 0.0; }",
    greedy: /* wgsl */ `
    for (var i = lane; i < p.vocabulary; i += LANES) {
      probabilities[row * p.vocabulary + i] = select(0.0, 1.0, i == greedy.index);
    }`,
    drawn: /* wgsl */ `
  for (var i = lane; i < p.vocabulary; i += LANES) {
    let z = penalised(i);
    probabilities[row * p.vocabulary + i] = weightOf(DRAW, i, z, rankOf(z)) / found.total;
  }`,
  },
};

const writeToken = /* wgsl */ `
fn writeToken(control: u32, token: u32, raw: LogSum) {
  controls[control + CONTROL_token] = token;
  controls[control + CONTROL_logProb] = bitcast<u32>(finite(logits[rowAt + token]) - raw.top - log(raw.sum));
}`;

const code = ({ result, lanes }: SampleVariant): string => /* wgsl */ `
${sampleParams.wgsl}
${rowWgsl}
${controlWgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<u32>;   // [R, V], bits of f32
@group(0) @binding(2) var<storage, read> rows: array<i32>;     // [R, ROW_WORDS]
@group(0) @binding(3) var<storage, read> seen: array<u32>;     // [slots, seenWords]
${results[result].bindings}

const LANES = ${lanes}u;
const BINS = 8u;
const GROUPS = 16u;             // lanes that combine the others' results
const NONE = 0xffffffffu;

struct Settings {
  isActive: u32, position: u32, seed: u32, topK: u32,
  temperature: f32, topP: f32, minP: f32, penalty: f32,
}
struct LogSum { top: f32, sum: f32 }              // sum of exp(x - top)
struct Best { rank: u32, index: u32 }
struct Found { at: u32, rest: f32, mass: f32, total: f32 }

var<workgroup> shared_settings: Settings;
var<workgroup> logSums: array<LogSum, LANES>;
var<workgroup> bests: array<Best, LANES>;
var<workgroup> bins: array<f32, BINS * LANES>;
var<workgroup> partial: array<f32, LANES>;
var<workgroup> totals: array<f32, BINS>;
var<workgroup> hasSplitTie: u32;

var<private> lane: u32;
var<private> rowAt: u32;        // the row's first logit
var<private> seenAt: u32;       // the slot's first word
var<private> penalty: f32;
var<private> inverseTemperature: f32;
var<private> minMass: f32;
var<private> top: f32;          // largest penalised logit
var<private> lastRank: u32 = NONE;     // kept: ranks up to this one,
var<private> lastTie: u32 = NONE;      // and of this rank the indices up to this one

// Compilers may assume that there is no NaN or infinity, so integers decide. 0x7149f2ca: 1e30.
fn finite(bits: u32) -> f32 {
  let magnitude = bits & 0x7fffffffu;
  if (magnitude <= 0x7149f2cau) { return bitcast<f32>(bits); }
  return select(-1e30, 1e30, bits == magnitude && magnitude <= 0x7f800000u);
}

fn penalised(i: u32) -> f32 {
  let x = finite(logits[rowAt + i]);
  if (penalty == 1.0) { return x; }
  if (((seen[seenAt + i / 32u] >> (i % 32u)) & 1u) == 0u) { return x; }
  return select(x * penalty, x / penalty, x > 0.0);
}

// Larger numbers have smaller ranks; both zeros have the same.
fn rankOf(z: f32) -> u32 {
  let bits = bitcast<u32>(z);
  return select(bits ^ 0x7fffffffu, bits, bits > 0x80000000u) & select(NONE, 0x7fffffffu, bits == 0x80000000u);
}
fn valueOf(rank: u32) -> f32 { return bitcast<f32>(select(rank ^ 0x7fffffffu, rank, rank > 0x80000000u)); }

// exp(x) for x <= 0, 0 below -87; simd.inline.as.ts has the same polynomial.
fn expOf(x: f32) -> f32 {
  if (x < -87.0) { return 0.0; }
  let n = round(x * 1.44269504);
  let r = (x - n * 0.693359375) - n * -2.12194440e-4;
  var q = 0.001381454007;
  q = q * r + 0.008368745113;
  q = q * r + 0.0416683908;
  q = q * r + 0.166665204;
  q = q * r + 0.4999999343;
  q = q * (r * r) + r + 1.0;
  return bitcast<f32>(bitcast<i32>(q) + (i32(n) << 23u));
}

fn massOf(z: f32) -> f32 { return expOf((z - top) * inverseTemperature); }

fn add(a: LogSum, b: LogSum) -> LogSum {
  let larger = max(a.top, b.top);
  return LogSum(larger, a.sum * expOf(a.top - larger) + b.sum * expOf(b.top - larger));
}
fn better(a: Best, b: Best) -> Best {
  if (b.rank < a.rank || (b.rank == a.rank && b.index < a.index)) { return b; }
  return a;
}

fn mix32(x: u32) -> u32 {
  var h = x;
  h = (h ^ (h >> 16u)) * 0x85ebca6bu;
  h = (h ^ (h >> 13u)) * 0xc2b2ae35u;
  return h ^ (h >> 16u);
}
fn uniformOf(seed: u32, position: u32) -> f32 {
  return f32(mix32(mix32(seed + 0x9e3779b9u) ^ mix32(position + 0x85ebca6bu)) >> 8u) * 0x1p-24;
}

// What a descent adds up, and along which axis.
const COUNT = 0u;   // 1, by rank
const MASS = 1u;    // probability mass of ranks that top-k keeps, by rank
const TIES = 2u;    // 1 for each token of rank lastRank, by index
const DRAW = 3u;    // kept mass, by index
fn isByIndex(what: u32) -> bool { return what >= TIES; }

fn weightOf(what: u32, i: u32, z: f32, rank: u32) -> f32 {
  switch (what) {
    case COUNT: { return 1.0; }
    case TIES: { return select(0.0, 1.0, rank == lastRank); }
    default: {
      if (rank > lastRank) { return 0.0; }
      let mass = massOf(z);
      if (what == DRAW && ((rank == lastRank && i > lastTie) || mass < minMass)) { return 0.0; }
      return mass;
    }
  }
}

// The first place along the axis at which the running total reaches wanted (DRAW: exceeds it); MASS and DRAW want a share of
// the total. rest: what is still wanted at that place, where the weights add up to mass.
fn descend(what: u32, firstShift: u32, wanted: f32) -> Found {
  var found = Found(0u, wanted, 0.0, 0.0);
  var mask = 0u;
  for (var level = 0u; level <= firstShift / 3u; level++) {
    let shift = firstShift - 3u * level;
    for (var b = 0u; b < BINS; b++) { bins[b * LANES + lane] = 0.0; }
    var first = 0u;
    var end = p.vocabulary;
    if (isByIndex(what)) {
      first = found.at;
      end = min(end, first + (8u << shift));
    }
    for (var i = first + lane; i < end; i += LANES) {
      let z = penalised(i);
      let rank = rankOf(z);
      let axis = select(rank, i, isByIndex(what));
      if ((axis & mask) == found.at) { bins[((axis >> shift) % BINS) * LANES + lane] += weightOf(what, i, z, rank); }
    }
    workgroupBarrier();
    let bin = lane / (LANES / BINS);
    let part = lane % (LANES / BINS);
    var sum = 0.0;
    for (var j = 0u; j < BINS; j++) { sum += bins[bin * LANES + j * (LANES / BINS) + part]; }
    partial[lane] = sum;
    workgroupBarrier();
    if (lane < BINS) {
      sum = 0.0;
      for (var j = 0u; j < LANES / BINS; j++) { sum += partial[lane * (LANES / BINS) + j]; }
      totals[lane] = sum;
    }
    workgroupBarrier();
    if (level == 0u) {
      for (var b = 0u; b < BINS; b++) { found.total += totals[b]; }
      if (what == MASS) { found.rest = max(wanted * found.total, 1e-30); }   // the largest token always stays
      if (what == DRAW) { found.rest = wanted * found.total; }
    }
    // Sums of a level and of the next differ in the last bits: where nothing reaches what is wanted, the last weight does.
    var before = 0.0;
    var chosen = 0u;
    var chosenBefore = 0.0;
    for (var b = 0u; b < BINS; b++) {
      if (totals[b] <= 0.0) { continue; }
      chosen = b;
      chosenBefore = before;
      before += totals[b];
      if (select(before >= found.rest, before > found.rest, what == DRAW)) { break; }
    }
    found.mass = totals[chosen];
    found.rest -= chosenBefore;
    found.at |= chosen << shift;
    mask = NONE << shift;
  }
  return found;
}
${result === "token" ? writeToken : ""}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  lane = local;
  let row = group.y * groups.x + group.x;
  if (row >= p.rows) { return; }
  let slot = rows[row * ROW_WORDS + ROW_slot];
  if (slot < 0) {
    ${results[result].inactive}
    return;
  }
  let control = u32(slot) * CONTROL_WORDS;
  if (lane == 0u) {
    shared_settings = Settings(
      controls[control + CONTROL_active], controls[control + CONTROL_position], controls[control + CONTROL_seed],
      controls[control + CONTROL_topK], bitcast<f32>(controls[control + CONTROL_temperature]),
      bitcast<f32>(controls[control + CONTROL_topP]), bitcast<f32>(controls[control + CONTROL_minP]),
      bitcast<f32>(controls[control + CONTROL_repetitionPenalty]),
    );
  }
  let settings = workgroupUniformLoad(&shared_settings);
  ${result === "token" ? "if (settings.isActive == 0u) { return; }" : ""}
  rowAt = row * p.vocabulary;
  seenAt = u32(slot) * p.seenWords;
  penalty = select(1.0, settings.penalty, settings.penalty > 0.0);

  var raw = LogSum(-2e30, 0.0);
  var greedy = Best(NONE, NONE);
  for (var i = lane; i < p.vocabulary; i += LANES) {
    let x = finite(logits[rowAt + i]);
    if (x > raw.top) { raw = LogSum(x, raw.sum * expOf(raw.top - x) + 1.0); }
    else { raw.sum += expOf(x - raw.top); }
    let rank = rankOf(penalised(i));
    if (rank < greedy.rank) { greedy = Best(rank, i); }
  }
  logSums[lane] = raw;
  bests[lane] = greedy;
  workgroupBarrier();
  if (lane < GROUPS) {
    let at = lane * (LANES / GROUPS);
    for (var j = at + 1u; j < at + LANES / GROUPS; j++) {
      logSums[at] = add(logSums[at], logSums[j]);
      bests[at] = better(bests[at], bests[j]);
    }
  }
  workgroupBarrier();
  raw = logSums[0];
  greedy = bests[0];
  for (var j = LANES / GROUPS; j < LANES; j += LANES / GROUPS) {
    raw = add(raw, logSums[j]);
    greedy = better(greedy, bests[j]);
  }

  if (!(settings.temperature > 0.0)) {
    ${results[result].greedy}
    return;
  }
  inverseTemperature = 1.0 / max(settings.temperature, 1e-6);
  minMass = min(settings.minP, 1.0);
  top = valueOf(greedy.rank);
  // One loop, because compilers copy descend to wherever it is called.
  var found: Found;
  var ties = 0.0;                 // equals at top-p's cut that are kept
  for (var what = COUNT; what <= DRAW; what++) {
    var isNeeded = true;
    if (what == COUNT) { isNeeded = settings.topK > 0u && settings.topK < p.vocabulary; }
    else if (what != DRAW) { isNeeded = settings.topP < 1.0; }
    if (what == TIES && isNeeded) { isNeeded = workgroupUniformLoad(&hasSplitTie) == 1u; }
    if (!isNeeded) { continue; }
    var wanted = uniformOf(settings.seed, settings.position);
    if (what == COUNT) { wanted = f32(settings.topK); }
    if (what == MASS) { wanted = settings.topP; }
    if (what == TIES) { wanted = ties; }
    found = descend(what, select(30u, p.indexShift, isByIndex(what)), wanted);
    if (what == COUNT || what == MASS) { lastRank = found.at; }
    if (what == MASS) {
      let mass = massOf(valueOf(lastRank));
      ties = ceil(found.rest / max(mass, 1e-37));
      if (lane == 0u) { hasSplitTie = u32(found.mass > (ties + 0.5) * mass); }
    }
    if (what == TIES) { lastTie = found.at; }
  }
${results[result].drawn}
}`;

const kernels = new Map<string, WebGpuKernel>();

export function sampleKernel(v: SampleVariant): WebGpuKernel {
  const label = `sample ${v.result} wg=${v.lanes}`;
  let kernel = kernels.get(label);
  if (!kernel) {
    kernel = { label, code: code(v) };
    kernels.set(label, kernel);
  }
  return kernel;
}

export function sampleVariants(): WebGpuKernel[] {
  return (["token", "probabilities"] as const).flatMap((result) =>
    ([64, 256] as const).map((lanes) => sampleKernel({ result, lanes })),
  );
}
