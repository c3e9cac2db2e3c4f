/**
 * Sampling. Tasks are rows; a row is one thread's from end to end, so its sums have one order.
 *
 * Thresholds of top-k and top-p come from histograms over eight bits at a time of the logits' ranks (order-preserving
 * integers; the largest logit has the smallest rank), never from a sort. Exponentials are float32 vectors, their sums
 * float64 over blocks.
 */
import { exp, maxF32, sumF32 } from "../simd.inline.as";
import {
  ACTIVE, CONTROL_BYTES, LOG_PROB, MIN_P, POSITION, REPETITION_PENALTY, ROW_BYTES, ROW_SLOT, SAMPLED, SEED, TEMPERATURE, TOP_K,
  TOP_P,
} from "../step/layout.inline.as";

/** 256 numbers of 8 bytes. */
const BINS_BYTES: usize = 2048;
/** What is still wanted at the rank that selectRank found, f64; then room up to a cache line. */
const FOUND_BYTES: usize = 64;
/** Numbers that are added up in float32 lanes: 16 vectors. */
const BLOCK: i32 = 64;
const LIMIT: f32 = 1e30;

@unmanaged
class SampleArgs {
  /** [R, V]. */
  logits: usize;
  rows: usize;
  controls: usize;
  seen: usize;
  /** [R, V], or null: then a token is drawn. */
  probabilities: usize;
  scratch: usize;
  V: i32;
  seenWords: i32;
  workerBytes: i32;
}

export function sampleRows(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<SampleArgs>(args);
  const V = g.V;
  const rowBytes = (<usize>V) << 2;
  const bins = g.scratch + <usize>worker * <usize>g.workerBytes;
  const x = bins + BINS_BYTES + FOUND_BYTES;
  const mass = x + ((rowBytes + 15) & ~15);
  for (let r = begin; r < end; r++) {
    const slot = load<i32>(g.rows + <usize>r * ROW_BYTES, ROW_SLOT);
    const logits = g.logits + <usize>r * rowBytes;
    const probabilities: usize = g.probabilities == 0 ? 0 : g.probabilities + <usize>r * rowBytes;
    if (slot < 0) {
      if (probabilities != 0) memory.fill(probabilities, 0, rowBytes);
      continue;
    }
    const control = g.controls + <usize>slot * CONTROL_BYTES;
    if (probabilities == 0 && load<i32>(control, ACTIVE) == 0) continue;

    let top = sampleFinite(logits, x, V);
    let logTotal: f64 = 0;
    const rawTop = top;
    if (probabilities == 0) {
      sampleMasses(x, mass, V, top, 1);
      logTotal = logOf(sampleSum(mass, 0, V));
    }
    const penalty = load<f32>(control, REPETITION_PENALTY);
    if (penalty > 0 && penalty != 1) {
      samplePenalise(x, V, penalty, g.seen + (((<usize>slot) * (<usize>g.seenWords)) << 2));
      top = sampleMax(x, V);
    }

    const temperature = load<f32>(control, TEMPERATURE);
    let token = 0;
    if (!(temperature > 0)) {
      token = sampleFirst(x, V, top);
      if (probabilities != 0) {
        memory.fill(probabilities, 0, rowBytes);
        store<f32>(probabilities + ((<usize>token) << 2), 1);
      }
    } else {
      sampleMasses(x, mass, V, top, 1 / max<f32>(temperature, 1e-6));
      sampleFilter(control, x, mass, V, bins);
      const total = sampleSum(mass, 0, V);
      if (probabilities != 0) {
        for (let at: usize = 0; at < rowBytes; at += 4) store<f32>(probabilities + at, <f32>(<f64>load<f32>(mass + at) / total));
      } else {
        token = sampleDraw(mass, V, total * uniformOf(load<u32>(control, SEED), load<u32>(control, POSITION)));
      }
    }
    if (probabilities == 0) {
      const raw = finite(load<f32>(logits + ((<usize>token) << 2)));
      store<i32>(control, token, SAMPLED);
      store<f32>(control, <f32>(<f64>raw - <f64>rawTop - logTotal), LOG_PROB);
    }
  }
}

// @ts-ignore: decorator
@inline
function finiteLanes(v: v128): v128 {
  // The pseudo-maximum answers its first operand for NaN.
  return f32x4.pmin(f32x4.splat(LIMIT), f32x4.pmax(f32x4.splat(-LIMIT), v));
}

// @ts-ignore: decorator
@inline
function finite(x: f32): f32 {
  return f32x4.extract_lane(finiteLanes(f32x4.splat(x)), 0);
}

/** x = logits without NaN and infinities, padded to whole vectors; returns the largest. */
function sampleFinite(logits: usize, x: usize, V: i32): f32 {
  const bytes = (<usize>V) << 2;
  const whole = bytes & ~15;
  let largest = f32x4.splat(-LIMIT);
  for (let at: usize = 0; at < whole; at += 16) {
    const v = finiteLanes(v128.load(logits + at));
    v128.store(x + at, v);
    largest = f32x4.pmax(largest, v);
  }
  if (whole < bytes) {
    v128.store(x + whole, f32x4.splat(-LIMIT));
    for (let at = whole; at < bytes; at += 4) store<f32>(x + at, finite(load<f32>(logits + at)));
    largest = f32x4.pmax(largest, v128.load(x + whole));
  }
  return maxF32(largest);
}

function sampleMax(x: usize, V: i32): f32 {
  let largest = f32x4.splat(-1e38);
  for (let at: usize = 0, bytes = (<usize>V) << 2; at < bytes; at += 16) largest = f32x4.pmax(largest, v128.load(x + at));
  return maxF32(largest);
}

/** The first index of `value`, which x holds. */
function sampleFirst(x: usize, V: i32, value: f32): i32 {
  const wanted = f32x4.splat(value);
  for (let i = 0; i < V; i += 4) {
    const mask = i32x4.bitmask(f32x4.eq(v128.load(x + ((<usize>i) << 2)), wanted));
    if (mask != 0) return min(i + ctz(mask), V - 1);
  }
  return 0;
}

function samplePenalise(x: usize, V: i32, penalty: f32, seen: usize): void {
  for (let first = 0; first < V; first += 32) {
    let word = load<u32>(seen + ((<usize>first) >> 3));
    while (word != 0) {
      const i = first + <i32>ctz(word);
      word &= word - 1;
      if (i >= V) break;
      const at = x + ((<usize>i) << 2);
      const z = load<f32>(at);
      store<f32>(at, z > 0 ? z / penalty : z * penalty);
    }
  }
}

/** mass = exp((x − top) · inverseTemperature), 0 below exp(−87) and behind the row's end. */
function sampleMasses(x: usize, mass: usize, V: i32, top: f32, inverseTemperature: f32): void {
  const bytes = (<usize>V) << 2;
  const tops = f32x4.splat(top);
  const scale = f32x4.splat(inverseTemperature);
  const smallest = f32x4.splat(-87);
  for (let at: usize = 0; at < bytes; at += 16) {
    const a = f32x4.mul(f32x4.sub(v128.load(x + at), tops), scale);
    v128.store(mass + at, v128.and(exp(a), f32x4.ge(a, smallest)));
  }
  for (let at = bytes; at < ((bytes + 15) & ~15); at += 4) store<f32>(mass + at, 0);
}

/** Sum of one block. */
// @ts-ignore: decorator
@inline
function blockSum(mass: usize, begin: i32, V: i32): f64 {
  const end = min(begin + BLOCK, V);
  let lanes = f32x4.splat(0);
  for (let i = begin; i < end; i += 4) lanes = f32x4.add(lanes, v128.load(mass + ((<usize>i) << 2)));
  return sumF32(lanes);
}

/** Sum from `begin`, a block's first index, on. */
function sampleSum(mass: usize, begin: i32, V: i32): f64 {
  let total: f64 = 0;
  for (let i = begin; i < V; i += BLOCK) total += blockSum(mass, i, V);
  return total;
}

/** The first index at which the running total of `mass` exceeds `wanted`; the last one with mass if rounding leaves none. */
function sampleDraw(mass: usize, V: i32, wanted: f64): i32 {
  let before: f64 = 0;
  let begin = 0;
  for (; begin + BLOCK < V; begin += BLOCK) {
    const sum = blockSum(mass, begin, V);
    if (before + sum > wanted) break;
    before += sum;
  }
  for (let i = begin; i < V; i++) {
    before += load<f32>(mass + ((<usize>i) << 2));
    if (before > wanted && load<f32>(mass + ((<usize>i) << 2)) > 0) return i;
  }
  let last = V - 1;
  while (last > 0 && load<f32>(mass + ((<usize>last) << 2)) == 0) last--;
  return last;
}

/** Larger numbers have smaller ranks; both zeros have the same. */
// @ts-ignore: decorator
@inline
function rankOf(at: usize): u32 {
  const bits = load<u32>(at);
  if (bits > 0x80000000) return bits;
  return (bits & 0x7fffffff) ^ 0x7fffffff;
}

/** Sets the mass of dropped tokens to 0. */
function sampleFilter(control: usize, x: usize, mass: usize, V: i32, bins: usize): void {
  const topK = load<i32>(control, TOP_K);
  const topP = load<f32>(control, TOP_P);
  const minMass = min<f32>(load<f32>(control, MIN_P), 1);
  const hasTopP = topP < 1;
  let lastRank: u32 = 0xffffffff;
  let rest: f64 = 0;
  if (topK > 0 && topK < V) lastRank = selectRank(x, 0, V, bins, lastRank, <f64>topK);
  else if (!hasTopP && !(minMass > 0)) return;
  if (hasTopP) {
    lastRank = selectRank(x, mass, V, bins, lastRank, <f64>topP);
    rest = load<f64>(bins + BINS_BYTES);
  }
  let ties: f64 = 0;
  for (let at: usize = 0, bytes = (<usize>V) << 2; at < bytes; at += 4) {
    const rank = rankOf(x + at);
    const own = load<f32>(mass + at);
    let isKept = rank <= lastRank && !(own < minMass);
    if (hasTopP && rank == lastRank) {
      // Of equals at the cut, the first ones up to what is wanted; one at least.
      if (ties > 0 && ties >= rest) isKept = false;
      ties += <f64>own;
    }
    if (!isKept) store<f32>(mass + at, 0);
  }
}

/**
 * The first rank at which the running total of weights, smallest rank first, reaches `wanted`. Weights are 1, or, where
 * `mass` is given, the masses of ranks up to `lastRank`, and `wanted` is a share of their sum. Leaves in `bins` behind the
 * histogram what is still wanted at that rank.
 */
function selectRank(x: usize, mass: usize, V: i32, bins: usize, lastRank: u32, wanted: f64): u32 {
  const bytes = (<usize>V) << 2;
  let rest = wanted;
  let found: u32 = 0;
  for (let shift = 24; shift >= 0; shift -= 8) {
    memory.fill(bins, 0, BINS_BYTES);
    const mask: u32 = shift == 24 ? 0 : 0xffffffff << (shift + 8);
    for (let at: usize = 0; at < bytes; at += 4) {
      const rank = rankOf(x + at);
      if ((rank & mask) != found || rank > lastRank) continue;
      const bin = bins + (((rank >> shift) & 255) << 3);
      store<f64>(bin, load<f64>(bin) + (mass == 0 ? 1 : <f64>load<f32>(mass + at)));
    }
    if (shift == 24 && mass != 0) {
      let total: f64 = 0;
      for (let bin: usize = 0; bin < BINS_BYTES; bin += 8) total += load<f64>(bins + bin);
      rest = max<f64>(wanted * total, 1e-30); // the largest token always stays
    }
    // Where rounding leaves nothing that reaches what is wanted, the last weight does.
    let before: f64 = 0;
    let chosen: usize = 0;
    let chosenBefore: f64 = 0;
    for (let bin: usize = 0; bin < BINS_BYTES; bin += 8) {
      const sum = load<f64>(bins + bin);
      if (sum == 0) continue;
      chosen = bin;
      chosenBefore = before;
      before += sum;
      if (before >= rest) break;
    }
    rest -= chosenBefore;
    found |= <u32>(chosen >> 3) << shift;
  }
  store<f64>(bins + BINS_BYTES, rest);
  return found;
}

// @ts-ignore: decorator
@inline
function mix(x: u32): u32 {
  let h = x;
  h = (h ^ (h >> 16)) * 0x85ebca6b;
  h = (h ^ (h >> 13)) * 0xc2b2ae35;
  return h ^ (h >> 16);
}

/** As uniform.ts. */
// @ts-ignore: decorator
@inline
function uniformOf(seed: u32, position: u32): f64 {
  return <f64>(mix(mix(seed + 0x9e3779b9) ^ mix(position + 0x85ebca6b)) >> 8) * (1.0 / 16777216.0);
}

/**
 * Natural logarithm of a number ≥ 1, within 1e-12: x = 2ⁿ·m with m in [√½, √2), log m = 2 artanh((m − 1) / (m + 1)). The
 * standard library's needs a table, and kernels have no static data.
 */
function logOf(x: f64): f64 {
  const bits = reinterpret<u64>(x);
  let n = <i32>(bits >> 52) - 1023;
  let m = reinterpret<f64>((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    n += 1;
  }
  const s = (m - 1) / (m + 1);
  const q = s * s;
  let series: f64 = 1.0 / 15.0;
  series = series * q + 1.0 / 13.0;
  series = series * q + 1.0 / 11.0;
  series = series * q + 1.0 / 9.0;
  series = series * q + 1.0 / 7.0;
  series = series * q + 1.0 / 5.0;
  series = series * q + 1.0 / 3.0;
  series = series * q + 1.0;
  return 2 * s * series + <f64>n * 0.6931471805599453;
}
