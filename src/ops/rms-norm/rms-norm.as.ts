/** RMS normalisation. Tasks are tokens. Bound by memory for long batches, by latency for one token. */
import { dotF32, load4, store4, sumF32 } from "../simd.inline.as";
import { normRow } from "./norm.inline.as";

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
    normRow(a.x + <usize>t * rowBytes, a.weight, a.y + <usize>t * rowBytes, channels, a.eps);
  }
}

@unmanaged
class RmsNormGradientArgs {
  /** [T, channels]. */
  x: usize;
  /** [channels]. */
  weight: usize;
  /** [T, channels]. */
  dy: usize;
  /** [T, channels]. */
  dx: usize;
  /** [T, channels]: terms of the weight's gradient. */
  terms: usize;
  channels: i32;
  eps: f32;
}

export function rmsNormGradient(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<RmsNormGradientArgs>(args);
  const channels = a.channels;
  const rowBytes = (<usize>channels) << 2;
  for (let t = begin; t < end; t++) {
    const row = <usize>t * rowBytes;
    const x = a.x + row;
    const dy = a.dy + row;
    let sums = f32x4.splat(0);
    for (let c = 0; c < channels; c += 4) {
      const left = channels - c;
      const at = (<usize>c) << 2;
      const pulled = f32x4.mul(load4(dy + at, left), load4(a.weight + at, left));
      sums = f32x4.add(sums, f32x4.mul(pulled, load4(x + at, left)));
    }
    const q: f32 = <f32>1 / sqrt<f32>(dotF32(x, x, channels) / <f32>channels + a.eps);
    const scale = f32x4.splat(q);
    const pull = f32x4.splat((q * q * q * sumF32(sums)) / <f32>channels);
    for (let c = 0; c < channels; c += 4) {
      const left = channels - c;
      const at = (<usize>c) << 2;
      const up = load4(dy + at, left);
      const here = load4(x + at, left);
      const direct = f32x4.mul(scale, f32x4.mul(up, load4(a.weight + at, left)));
      store4(a.dx + row + at, f32x4.sub(direct, f32x4.mul(here, pull)), left);
      store4(a.terms + row + at, f32x4.mul(f32x4.mul(up, here), scale), left);
    }
  }
}
