/** AdamW on the CPU. A task is a block of 4,096 numbers of one of the launch's tensors. */
import { load4, store4 } from "../simd.inline.as";

const BLOCK: i32 = 4096;

@unmanaged
class AdamwArgs {
  /** Rows of `stride` numbers: first moment, root of the second, average. */
  moments: usize;
  record: usize;
  stride: i32;
  keep1: f32;
  add1: f32;
  keep2: f32;
  add2: f32;
  eps: f32;
  emaAdd: f32;
}
// Behind it, for each tensor: parameter, gradient, numbers, blocks up to its end, rate, rate · decay.

@inline
function walk(args: usize, begin: i32, end: i32, hasAverage: bool): void {
  const a = changetype<AdamwArgs>(args);
  if (load<f32>(a.record, 8) == 0) return;
  const factor = f32x4.splat(load<f32>(a.record, 4));
  const root = f32x4.splat(1 / sqrt<f32>(load<f32>(a.record, 28)));
  const one = f32x4.splat(1);
  const row = (<usize>a.stride) << 2;
  let span = args + offsetof<AdamwArgs>();
  let before = 0;
  let offset: usize = 0;
  for (let task = begin; task < end; task++) {
    while (load<i32>(span, 12) <= task) {
      before = load<i32>(span, 12);
      offset += ((<usize>load<i32>(span, 8)) + 63) & ~63;
      span += 24;
    }
    const first = (task - before) * BLOCK;
    const skip = (<usize>first) << 2;
    let p = (<usize>load<u32>(span)) + skip;
    let g = (<usize>load<u32>(span, 4)) + skip;
    let m = a.moments + (offset << 2) + skip;
    let left = min(load<i32>(span, 8) - first, BLOCK);
    const rate = f32x4.splat(load<f32>(span, 16) / load<f32>(a.record, 24));
    const loss = f32x4.splat(load<f32>(span, 20));
    while (left > 0) {
      const d = f32x4.mul(factor, load4(g, left));
      const mean = f32x4.add(f32x4.mul(f32x4.splat(a.keep1), v128.load(m)), f32x4.mul(f32x4.splat(a.add1), d));
      // √(a² + b²) without squares that overflow or vanish.
      const x = f32x4.mul(f32x4.splat(a.keep2), v128.load(m + row));
      const y = f32x4.mul(f32x4.splat(a.add2), f32x4.abs(d));
      const high = f32x4.max(x, y);
      const ratio = f32x4.div(f32x4.min(x, y), v128.bitselect(one, high, f32x4.eq(high, f32x4.splat(0))));
      const spread = f32x4.mul(high, f32x4.sqrt(f32x4.add(one, f32x4.mul(ratio, ratio))));
      v128.store(m, mean); // rows are padded to 64 numbers
      v128.store(m + row, spread);
      const old = load4(p, left);
      const way = f32x4.div(mean, f32x4.add(f32x4.mul(spread, root), f32x4.splat(a.eps)));
      const fresh = f32x4.sub(old, f32x4.add(f32x4.mul(rate, way), f32x4.mul(loss, old)));
      store4(p, fresh, left);
      if (hasAverage) {
        const average = v128.load(m + 2 * row);
        v128.store(m + 2 * row, f32x4.add(average, f32x4.mul(f32x4.splat(a.emaAdd), f32x4.sub(fresh, average))));
      }
      p += 16;
      g += 16;
      m += 16;
      left -= 4;
    }
  }
}

export function adamw(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, false);
}

export function adamwWithAverage(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, true);
}
