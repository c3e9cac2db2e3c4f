/** Sums over an axis on the CPU, and repetition along one. */
import { load4, store4 } from "../simd.inline.as";

const BLOCK: i32 = 64;

@unmanaged
class ReduceSumArgs {
  /** [A, total]. */
  x: usize;
  /** [A, width]: y[w] is the sum of x[w], x[w + width] … */
  y: usize;
  total: i32;
  width: i32;
  /** Blocks of a row of y. */
  perRow: i32;
  scale: f32;
}

export function reduceSum(args: usize, begin: i32, end: i32, worker: i32): void {
  const p = changetype<ReduceSumArgs>(args);
  const scale = f32x4.splat(p.scale);
  for (let task = begin; task < end; task++) {
    const a = task / p.perRow;
    const first = (task % p.perRow) * BLOCK;
    const last = min(first + BLOCK, p.width);
    const x = p.x + ((<usize>a * <usize>p.total) << 2);
    const y = p.y + ((<usize>a * <usize>p.width) << 2);
    let w = first;
    // Rows are whole but for the last.
    const whole = p.total / p.width;
    for (; w + 16 <= last; w += 16) {
      let s0 = f32x4.splat(0);
      let s1 = f32x4.splat(0);
      let s2 = f32x4.splat(0);
      let s3 = f32x4.splat(0);
      let at = x + ((<usize>w) << 2);
      for (let r = 0; r < whole; r++) {
        s0 = f32x4.add(s0, v128.load(at));
        s1 = f32x4.add(s1, v128.load(at, 16));
        s2 = f32x4.add(s2, v128.load(at, 32));
        s3 = f32x4.add(s3, v128.load(at, 48));
        at += (<usize>p.width) << 2;
      }
      const left = p.total - whole * p.width - w;
      if (left > 0) s0 = f32x4.add(s0, load4(at, left));
      if (left > 4) s1 = f32x4.add(s1, load4(at + 16, left - 4));
      if (left > 8) s2 = f32x4.add(s2, load4(at + 32, left - 8));
      if (left > 12) s3 = f32x4.add(s3, load4(at + 48, left - 12));
      const out = y + ((<usize>w) << 2);
      v128.store(out, f32x4.mul(scale, s0));
      v128.store(out, f32x4.mul(scale, s1), 16);
      v128.store(out, f32x4.mul(scale, s2), 32);
      v128.store(out, f32x4.mul(scale, s3), 48);
    }
    for (; w < last; w++) {
      let sum: f32 = 0;
      for (let at = w; at < p.total; at += p.width) sum += load<f32>(x + ((<usize>at) << 2));
      store<f32>(y + ((<usize>w) << 2), p.scale * sum);
    }
  }
}

@unmanaged
class ReduceRepeatArgs {
  /** [A, B]. */
  y: usize;
  /** [A, count, B]. */
  x: usize;
  b: i32;
  count: i32;
  scale: f32;
}

/** A task is a row [B] of the result. */
export function reduceRepeat(args: usize, begin: i32, end: i32, worker: i32): void {
  const p = changetype<ReduceRepeatArgs>(args);
  const scale = f32x4.splat(p.scale);
  const rowBytes = (<usize>p.b) << 2;
  for (let task = begin; task < end; task++) {
    let from = p.y + <usize>(task / p.count) * rowBytes;
    let to = p.x + <usize>task * rowBytes;
    for (let left = p.b; left > 0; left -= 4) {
      store4(to, f32x4.mul(scale, load4(from, left)), left);
      from += 16;
      to += 16;
    }
  }
}
