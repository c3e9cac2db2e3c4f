/** Norm of all gradients on the CPU. A task is a block of 4,096 numbers of one tensor. */
import { load4 } from "../simd.inline.as";

const BLOCK: i32 = 4096;

@unmanaged
class GlobalNormSquaresArgs {
  partial: usize;
  /** Of the whole norm's blocks, the first one of this launch. */
  first: i32;
}
// Behind it, for each tensor: address, numbers, blocks up to its end.

export function globalNormSquares(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<GlobalNormSquaresArgs>(args);
  let span = args + offsetof<GlobalNormSquaresArgs>();
  let before = 0;
  for (let task = begin; task < end; task++) {
    while (load<i32>(span, 8) <= task) {
      before = load<i32>(span, 8);
      span += 12;
    }
    const first = (task - before) * BLOCK;
    let at = (<usize>load<u32>(span)) + ((<usize>first) << 2);
    let left = min(load<i32>(span, 4) - first, BLOCK);
    let low = f64x2.splat(0);
    let high = f64x2.splat(0);
    while (left > 0) {
      const g = load4(at, left);
      const a = f64x2.promote_low_f32x4(g);
      const b = f64x2.promote_low_f32x4(v128.shuffle<i32>(g, g, 2, 3, 2, 3));
      low = f64x2.add(low, f64x2.mul(a, a));
      high = f64x2.add(high, f64x2.mul(b, b));
      at += 16;
      left -= 4;
    }
    const sum = f64x2.add(low, high);
    store<f32>(a.partial + ((<usize>(a.first + task)) << 2), <f32>(f64x2.extract_lane(sum, 0) + f64x2.extract_lane(sum, 1)));
  }
}

@unmanaged
class GlobalNormDecideArgs {
  partial: usize;
  record: usize;
  blocks: i32;
  growthSteps: i32;
  isLatched: i32;
  maxNorm: f32;
  keep1: f32;
  add1: f32;
  keep2: f32;
  add2: f32;
}

export function globalNormDecide(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<GlobalNormDecideArgs>(args);
  const record = a.record;
  let total: f64 = 0;
  for (let i = 0; i < a.blocks; i++) total += <f64>load<f32>(a.partial + ((<usize>i) << 2));
  const scale = load<f32>(record, 12);
  // NaN is not equal to itself, infinity minus itself is NaN.
  if (total - total == 0 && (a.isLatched == 0 || load<f32>(record, 32) == 0)) {
    const norm = <f32>(Math.sqrt(total) / <f64>scale);
    store<f32>(record, norm, 0);
    store<f32>(record, (norm > a.maxNorm ? a.maxNorm / norm : 1) / scale, 4);
    store<f32>(record, 1, 8);
    store<f32>(record, load<f32>(record, 16) + 1, 16);
    store<f32>(record, load<f32>(record, 20) + 1, 20);
    store<f32>(record, a.keep1 * load<f32>(record, 24) + a.add1, 24);
    store<f32>(record, a.keep2 * load<f32>(record, 28) + a.add2, 28);
    if (a.growthSteps > 0 && load<f32>(record, 16) >= <f32>a.growthSteps) {
      store<f32>(record, scale * 2, 12);
      store<f32>(record, 0, 16);
    }
  } else {
    store<f32>(record, <f32>total, 0);
    store<f32>(record, 0, 4);
    store<f32>(record, 0, 8);
    store<f32>(record, 0, 16);
    store<f32>(record, load<f32>(record, 32) + 1, 32);
    if (a.growthSteps > 0) store<f32>(record, scale * 0.5, 12);
  }
}
