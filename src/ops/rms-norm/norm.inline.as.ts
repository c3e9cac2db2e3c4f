/** The norm of one row: shared by the operation and by those that fold it into their own launch. */
import { dotF32, load4, store4 } from "../simd.inline.as";

/** 1 / rms of a row. */
// @ts-ignore: decorator
@inline
export function inverseRms(x: usize, channels: i32, eps: f32): f32 {
  return 1 / sqrt<f32>(dotF32(x, x, channels) / <f32>channels + eps);
}

/** y = x / rms(x) · weight over one row. */
export function normRow(x: usize, weight: usize, y: usize, channels: i32, eps: f32): void {
  const scale = f32x4.splat(inverseRms(x, channels, eps));
  let left = channels;
  while (left > 0) {
    store4(y, f32x4.mul(f32x4.mul(load4(x, left), scale), load4(weight, left)), left);
    x += 16;
    y += 16;
    weight += 16;
    left -= 4;
  }
}
