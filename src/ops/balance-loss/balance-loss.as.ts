/** The load-balancing loss on the CPU. Tasks are blocks of tokens; the loss is one task. */
import { expScalar } from "../simd.inline.as";

// @ts-ignore: decorator
@inline
const BLOCK: i32 = 64;

@inline
function at(base: usize, index: i32): usize {
  return base + ((<usize>index) << 2);
}

@unmanaged
class Sizes {
  tokens: i32;
  first: i32;
  experts: i32;
  topK: i32;
  all: i32;
  /** coefficient · E / N. */
  factor: f32;
}

@unmanaged
class SumsArgs {
  /** [T, E]. */
  z: usize;
  /** [T, k]. */
  chosen: usize;
  /** [blocks, 2, E]. */
  parts: usize;
}

/** The largest of a token's logits. */
function largestOf(row: usize, experts: i32): f32 {
  let best: f32 = -3.0e38;
  for (let e = 0; e < experts; e++) best = max(best, load<f32>(at(row, e)));
  return best;
}

function totalOf(row: usize, experts: i32, best: f32): f32 {
  let total: f32 = 0;
  for (let e = 0; e < experts; e++) total += expScalar(load<f32>(at(row, e)) - best);
  return total;
}

export function balanceSums(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<SumsArgs>(args);
  const s = changetype<Sizes>(args + 12);
  const E = s.experts;
  for (let block = begin; block < end; block++) {
    const sums = at(g.parts, (s.first + block) * 2 * E);
    const hits = at(sums, E);
    memory.fill(sums, 0, (<usize>(2 * E)) << 2);
    for (let t = block * BLOCK; t < min((block + 1) * BLOCK, s.tokens); t++) {
      const row = at(g.z, t * E);
      const best = largestOf(row, E);
      const total = totalOf(row, E, best);
      for (let e = 0; e < E; e++) {
        store<f32>(at(sums, e), load<f32>(at(sums, e)) + expScalar(load<f32>(at(row, e)) - best) / total);
      }
      for (let j = 0; j < s.topK; j++) {
        const hit = at(hits, load<i32>(at(g.chosen, t * s.topK + j)));
        store<f32>(hit, load<f32>(hit) + 1);
      }
    }
  }
}

@unmanaged
class LossArgs {
  parts: usize;
  /** [E]. */
  shares: usize;
  loss: usize;
}

export function balanceLoss(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<LossArgs>(args);
  const s = changetype<Sizes>(args + 12);
  const E = s.experts;
  let all: f32 = 0;
  for (let e = 0; e < E; e++) {
    let sum: f32 = 0;
    let hits: f32 = 0;
    for (let block = 0; block < s.first; block++) {
      sum += load<f32>(at(g.parts, block * 2 * E + e));
      hits += load<f32>(at(g.parts, block * 2 * E + E + e));
    }
    const share = hits / <f32>s.all;
    store<f32>(at(g.shares, e), share);
    all += share * sum;
  }
  store<f32>(g.loss, s.factor * all);
}

@unmanaged
class GradientArgs {
  z: usize;
  shares: usize;
  dLoss: usize;
  /** [T, E]. */
  dz: usize;
}

export function balanceGradient(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<GradientArgs>(args);
  const s = changetype<Sizes>(args + 16);
  const E = s.experts;
  const factor = load<f32>(g.dLoss) * s.factor;
  for (let t = begin * BLOCK; t < min(end * BLOCK, s.tokens); t++) {
    const row = at(g.z, t * E);
    const to = at(g.dz, t * E);
    const best = largestOf(row, E);
    const total = totalOf(row, E, best);
    let mean: f32 = 0;
    for (let e = 0; e < E; e++) {
      const p = expScalar(load<f32>(at(row, e)) - best) / total;
      store<f32>(at(to, e), p);
      mean += p * load<f32>(at(g.shares, e));
    }
    for (let e = 0; e < E; e++) {
      store<f32>(at(to, e), factor * load<f32>(at(to, e)) * (load<f32>(at(g.shares, e)) - mean));
    }
  }
}
