/** RMS normalisation. Tasks are tokens. Bound by memory for long batches, by latency for one token. */
import { load4, madd, store4, sumF32 } from "../simd.inline.as";
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
  /** [blocks, channels]: sums of the weight's gradient. */
  sums: usize;
  channels: i32;
  eps: f32;
  tokens: i32;
}

/** Tokens of a task. */
// @ts-ignore: decorator
@inline
const BLOCK: i32 = 32;

export function rmsNormGradient(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<RmsNormGradientArgs>(args);
  const channels = a.channels;
  const rowBytes = (<usize>channels) << 2;
  for (let block = begin; block < end; block++) {
    const sums = a.sums + <usize>block * rowBytes;
    memory.fill(sums, 0, rowBytes);
    const last = min(block * BLOCK + BLOCK, a.tokens);
    for (let t = block * BLOCK; t < last; t++) {
      const row = <usize>t * rowBytes;
      const x = a.x + row;
      const dy = a.dy + row;
      let pulls = f32x4.splat(0);
      let squares = f32x4.splat(0);
      for (let c = 0; c < channels; c += 4) {
        const left = channels - c;
        const at = (<usize>c) << 2;
        const here = load4(x + at, left);
        pulls = madd(f32x4.mul(load4(dy + at, left), load4(a.weight + at, left)), here, pulls);
        squares = madd(here, here, squares);
      }
      const q: f32 = <f32>1 / sqrt<f32>(sumF32(squares) / <f32>channels + a.eps);
      const scale = f32x4.splat(q);
      const pull = f32x4.splat((q * q * q * sumF32(pulls)) / <f32>channels);
      for (let c = 0; c < channels; c += 4) {
        const left = channels - c;
        const at = (<usize>c) << 2;
        const up = f32x4.mul(scale, load4(dy + at, left));
        const here = load4(x + at, left);
        const direct = f32x4.mul(up, load4(a.weight + at, left));
        store4(a.dx + row + at, f32x4.sub(direct, f32x4.mul(here, pull)), left);
        store4(sums + at, madd(up, here, load4(sums + at, left)), left);
      }
    }
  }
}
