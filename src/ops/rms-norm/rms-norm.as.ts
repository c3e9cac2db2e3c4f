/** RMS normalisation. Tasks are tokens. Bound by memory for long batches, by latency for one token. */
import { dotF32, load4, store4 } from "../simd.inline.as";

@unmanaged
class RmsNormArgs {
  /** [T, channels]. */
  x: usize;
  /** [channels]. */
  weight: usize;
  /** [T, channels]. */
  y: usize;
  channels: i32;
  eps: f32;
}

export function rmsNorm(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<RmsNormArgs>(args);
  const channels = a.channels;
  const rowBytes = (<usize>channels) << 2;
  for (let t = begin; t < end; t++) {
    let x = a.x + <usize>t * rowBytes;
    let y = a.y + <usize>t * rowBytes;
    let weight = a.weight;
    const square = dotF32(x, x, channels);
    const scale = f32x4.splat(1 / sqrt<f32>(square / <f32>channels + a.eps));
    let left = channels;
    while (left > 0) {
      store4(y, f32x4.mul(f32x4.mul(load4(x, left), scale), load4(weight, left)), left);
      x += 16;
      y += 16;
      weight += 16;
      left -= 4;
    }
  }
}
