/** Cross-entropy over pieces of the vocabulary on the CPU. Tasks are tokens; "loss" is one task. */
import { exp, expScalar, load4, logScalar, maxF32, store4, sumF32 } from "../simd.inline.as";

@unmanaged
class StatsArgs {
  /** [T, columns]. */
  z: usize;
  targets: usize;
  /** [T, 4]: maximum, sum, the target's logit. */
  stats: usize;
  T: i32;
  first: i32;
  columns: i32;
  count: i32;
}

export function crossEntropyStats(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<StatsArgs>(args);
  const columns = g.columns;
  for (let t = begin; t < end; t++) {
    const row = g.z + ((<usize>t * <usize>columns) << 2);
    const stats = g.stats + ((<usize>t) << 4);
    let most = f32x4.splat(-3.0e38);
    let i = 0;
    for (; i + 4 <= columns; i += 4) most = f32x4.max(most, v128.load(row + ((<usize>i) << 2)));
    let best = maxF32(most);
    for (; i < columns; i++) best = max(best, load<f32>(row + ((<usize>i) << 2)));
    const shift = f32x4.splat(best);
    let sums = f32x4.splat(0);
    for (i = 0; i + 4 <= columns; i += 4) sums = f32x4.add(sums, exp(f32x4.sub(v128.load(row + ((<usize>i) << 2)), shift)));
    let sum = sumF32(sums);
    for (; i < columns; i++) sum += expScalar(load<f32>(row + ((<usize>i) << 2)) - best);
    let before: f32 = -3.0e38;
    let total: f32 = 0;
    let own: f32 = 0;
    if (g.first > 0) {
      before = load<f32>(stats);
      total = load<f32>(stats, 4);
      own = load<f32>(stats, 8);
    }
    const next = max(before, best);
    if (g.first > 0) total *= expScalar(before - next);
    const target = load<i32>(g.targets + ((<usize>t) << 2)) - g.first;
    if (target >= 0 && target < columns) own = load<f32>(row + ((<usize>target) << 2));
    store<f32>(stats, next);
    store<f32>(stats, total + sum * expScalar(best - next), 4);
    store<f32>(stats, own, 8);
  }
}

@unmanaged
class LossArgs {
  stats: usize;
  targets: usize;
  loss: usize;
  T: i32;
  first: i32;
  columns: i32;
  count: i32;
}

export function crossEntropyLoss(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<LossArgs>(args);
  // One sum of thousands of terms: in float64.
  let sum: f64 = 0;
  for (let t = 0; t < g.T; t++) {
    if (load<i32>(g.targets + ((<usize>t) << 2)) < 0) continue;
    const stats = g.stats + ((<usize>t) << 4);
    sum += <f64>logScalar(load<f32>(stats, 4)) + <f64>(load<f32>(stats) - load<f32>(stats, 8));
  }
  store<f32>(g.loss, <f32>(sum / <f64>g.count));
}

@unmanaged
class GradientArgs {
  z: usize;
  targets: usize;
  stats: usize;
  dLoss: usize;
  dz: usize;
  T: i32;
  first: i32;
  columns: i32;
  count: i32;
}

export function crossEntropyGradient(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<GradientArgs>(args);
  const columns = g.columns;
  for (let t = begin; t < end; t++) {
    const at = (<usize>t * <usize>columns) << 2;
    const stats = g.stats + ((<usize>t) << 4);
    const id = load<i32>(g.targets + ((<usize>t) << 2));
    const factor: f32 = id < 0 ? 0 : load<f32>(g.dLoss) / <f32>g.count;
    const scale = f32x4.splat(factor / load<f32>(stats, 4));
    const shift = f32x4.splat(load<f32>(stats));
    for (let i = 0; i < columns; i += 4) {
      const left = columns - i;
      const offset = at + ((<usize>i) << 2);
      store4(g.dz + offset, f32x4.mul(scale, exp(f32x4.sub(load4(g.z + offset, left), shift))), left);
    }
    const target = id - g.first;
    if (id >= 0 && target >= 0 && target < columns) {
      const own = g.dz + at + ((<usize>target) << 2);
      store<f32>(own, load<f32>(own) - factor);
    }
  }
}
