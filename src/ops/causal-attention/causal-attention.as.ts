/**
 * Causal attention and its gradient on the CPU. A task is one query of one head (forward, queries) or one key of one
 * key/value head (keys).
 */
import { dotF32, exp, expScalar, load4, logScalar, store4, sumF32 } from "../simd.inline.as";

/** Behind the buffers of a pass, which differ. */
@unmanaged
class Sizes {
  scratch: usize;
  scratchBytes: i32;
  heads: i32;
  kvHeads: i32;
  headDim: i32;
  window: i32;
  scale: f32;
  T: i32;
}

@inline
function wordAt(args: usize, index: i32): usize {
  return load<usize>(args + ((<usize>index) << 2));
}

@inline
function queryAt(qkv: usize, s: Sizes, t: i32, head: i32): usize {
  return qkv + ((<usize>t * <usize>(s.heads + 2 * s.kvHeads) + <usize>head) * <usize>s.headDim << 2);
}

@inline
function rowOf(tokens: usize, rows: usize, t: i32): usize {
  return rows + ((<usize>load<i32>(tokens + ((<usize>t) << 4), 8)) << 4);
}

/** to += factor · from. */
@inline
function accumulate(to: usize, from: usize, factor: f32, count: i32): void {
  const f = f32x4.splat(factor);
  for (let c = 0; c < count; c += 4) {
    const left = count - c;
    const at = (<usize>c) << 2;
    store4(to + at, f32x4.add(load4(to + at, left), f32x4.mul(f, load4(from + at, left))), left);
  }
}

export function causalAttentionForward(args: usize, begin: i32, end: i32, worker: i32): void {
  const qkv = wordAt(args, 0);
  const tokens = wordAt(args, 1);
  const rows = wordAt(args, 2);
  const out = wordAt(args, 3);
  const logSums = wordAt(args, 4);
  const s = changetype<Sizes>(args + 20);
  const D = s.headDim;
  const scores = s.scratch + <usize>worker * <usize>s.scratchBytes;
  for (let task = begin; task < end; task++) {
    const t = task / s.heads;
    const h = task % s.heads;
    const g = s.heads + h / (s.heads / s.kvHeads);
    const first = max(load<i32>(rowOf(tokens, rows, t)), t - s.window + 1);
    const count = t - first + 1;
    const q = queryAt(qkv, s, t, h);
    let best: f32 = -3.0e38;
    for (let j = 0; j < count; j++) {
      const score = s.scale * dotF32(q, queryAt(qkv, s, first + j, g), D);
      store<f32>(scores + ((<usize>j) << 2), score);
      best = max(best, score);
    }
    const shift = f32x4.splat(best);
    let sums = f32x4.splat(0);
    let total: f32 = 0;
    let j = 0;
    for (; j + 4 <= count; j += 4) {
      const p = exp(f32x4.sub(v128.load(scores + ((<usize>j) << 2)), shift));
      v128.store(scores + ((<usize>j) << 2), p);
      sums = f32x4.add(sums, p);
    }
    for (; j < count; j++) {
      const p = expScalar(load<f32>(scores + ((<usize>j) << 2)) - best);
      store<f32>(scores + ((<usize>j) << 2), p);
      total += p;
    }
    total += sumF32(sums);
    const to = out + ((<usize>task * <usize>D) << 2);
    memory.fill(to, 0, (<usize>D) << 2);
    for (let i = 0; i < count; i++) {
      const weight = load<f32>(scores + ((<usize>i) << 2)) / total;
      accumulate(to, queryAt(qkv, s, first + i, g + s.kvHeads), weight, D);
    }
    store<f32>(logSums + ((<usize>task) << 2), best + logScalar(total));
  }
}

export function causalAttentionQueries(args: usize, begin: i32, end: i32, worker: i32): void {
  const qkv = wordAt(args, 0);
  const tokens = wordAt(args, 1);
  const rows = wordAt(args, 2);
  const out = wordAt(args, 3);
  const logSums = wordAt(args, 4);
  const dOut = wordAt(args, 5);
  const dQkv = wordAt(args, 6);
  const pulls = wordAt(args, 7);
  const s = changetype<Sizes>(args + 32);
  const D = s.headDim;
  for (let task = begin; task < end; task++) {
    const t = task / s.heads;
    const h = task % s.heads;
    const g = s.heads + h / (s.heads / s.kvHeads);
    const first = max(load<i32>(rowOf(tokens, rows, t)), t - s.window + 1);
    const q = queryAt(qkv, s, t, h);
    const up = dOut + ((<usize>task * <usize>D) << 2);
    const pull = dotF32(up, out + ((<usize>task * <usize>D) << 2), D);
    store<f32>(pulls + ((<usize>task) << 2), pull);
    const logSum = load<f32>(logSums + ((<usize>task) << 2));
    const to = queryAt(dQkv, s, t, h);
    memory.fill(to, 0, (<usize>D) << 2);
    for (let j = first; j <= t; j++) {
      const key = queryAt(qkv, s, j, g);
      const weight = expScalar(s.scale * dotF32(q, key, D) - logSum);
      const dWeight = dotF32(up, queryAt(qkv, s, j, g + s.kvHeads), D);
      accumulate(to, key, weight * (dWeight - pull) * s.scale, D);
    }
  }
}

export function causalAttentionKeys(args: usize, begin: i32, end: i32, worker: i32): void {
  const qkv = wordAt(args, 0);
  const tokens = wordAt(args, 1);
  const rows = wordAt(args, 2);
  const logSums = wordAt(args, 3);
  const dOut = wordAt(args, 4);
  const pulls = wordAt(args, 5);
  const dQkv = wordAt(args, 6);
  const s = changetype<Sizes>(args + 28);
  const D = s.headDim;
  const perGroup = s.heads / s.kvHeads;
  for (let task = begin; task < end; task++) {
    const j = task / s.kvHeads;
    const g = task % s.kvHeads;
    const row = rowOf(tokens, rows, j);
    const last = min(load<i32>(row) + load<i32>(row, 4), j + s.window);
    const key = queryAt(qkv, s, j, s.heads + g);
    const value = queryAt(qkv, s, j, s.heads + s.kvHeads + g);
    const dKey = queryAt(dQkv, s, j, s.heads + g);
    const dValue = queryAt(dQkv, s, j, s.heads + s.kvHeads + g);
    memory.fill(dKey, 0, (<usize>D) << 2);
    memory.fill(dValue, 0, (<usize>D) << 2);
    for (let h = g * perGroup; h < (g + 1) * perGroup; h++) {
      for (let t = j; t < last; t++) {
        const at = t * s.heads + h;
        const q = queryAt(qkv, s, t, h);
        const up = dOut + ((<usize>at * <usize>D) << 2);
        const weight = expScalar(s.scale * dotF32(q, key, D) - load<f32>(logSums + ((<usize>at) << 2)));
        const dWeight = dotF32(up, value, D);
        accumulate(dValue, up, weight, D);
        accumulate(dKey, q, weight * (dWeight - load<f32>(pulls + ((<usize>at) << 2))) * s.scale, D);
      }
    }
  }
}
