/** Group and layer normalisation on the CPU, and their gradient. A task is a row. Bound by memory. */
import { load4, store4, sumF32 } from "../simd.inline.as";

// Sums of so many numbers in float32, those in float64: rows can be whole images.
const BLOCK: i32 = 1024;

/** Mean of a row. */
// @ts-ignore: decorator
@inline
function meanOf(x: usize, length: i32): f32 {
  let total: f64 = 0;
  for (let first = 0; first < length; first += BLOCK) {
    const last = min(first + BLOCK, length);
    let sum = f32x4.splat(0);
    for (let i = first; i < last; i += 4) sum = f32x4.add(sum, load4(x + ((<usize>i) << 2), last - i));
    total += <f64>sumF32(sum);
  }
  return <f32>(total / <f64>length);
}

/** 1 / σ of a row. */
// @ts-ignore: decorator
@inline
function scaleOf(x: usize, length: i32, mean: f32, eps: f32): f32 {
  let total: f64 = 0;
  const m = f32x4.splat(mean);
  for (let first = 0; first < length; first += BLOCK) {
    const last = min(first + BLOCK, length);
    let sum = f32x4.splat(0);
    let i = first;
    for (; i + 4 <= last; i += 4) {
      const d = f32x4.sub(v128.load(x + ((<usize>i) << 2)), m);
      sum = f32x4.add(sum, f32x4.mul(d, d));
    }
    total += <f64>sumF32(sum);
    for (; i < last; i++) {
      const d = load<f32>(x + ((<usize>i) << 2)) - mean;
      total += <f64>(d * d);
    }
  }
  return <f32>(1 / sqrt<f64>(total / <f64>length + <f64>eps));
}

@unmanaged
class GroupNormArgs {
  /** [rows, channels, places]. */
  x: usize;
  /** [groups · channels]. */
  weight: usize;
  bias: usize;
  /** As x. */
  y: usize;
  groups: i32;
  channels: i32;
  places: i32;
  eps: f32;
}

export function groupNorm(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<GroupNormArgs>(args);
  const length = a.channels * a.places;
  for (let r = begin; r < end; r++) {
    const row = (<usize>r * <usize>length) << 2;
    const channel = (<usize>(r % a.groups) * <usize>a.channels) << 2;
    let x = a.x + row;
    let y = a.y + row;
    const mean = meanOf(x, length);
    const scale = scaleOf(x, length, mean, a.eps);
    const m = f32x4.splat(mean);
    if (a.places == 1) {
      // A weight a number.
      const s = f32x4.splat(scale);
      for (let i = 0; i < length; i += 4) {
        const left = length - i;
        const at = (<usize>i) << 2;
        const normal = f32x4.mul(f32x4.sub(load4(x + at, left), m), s);
        const scaled = f32x4.mul(normal, load4(a.weight + channel + at, left));
        store4(y + at, f32x4.add(scaled, load4(a.bias + channel + at, left)), left);
      }
      continue;
    }
    for (let c = 0; c < a.channels; c++) {
      const at = channel + ((<usize>c) << 2);
      const s = f32x4.splat(scale * load<f32>(a.weight + at));
      const b = f32x4.splat(load<f32>(a.bias + at));
      for (let left = a.places; left > 0; left -= 4) {
        store4(y, f32x4.add(f32x4.mul(f32x4.sub(load4(x, left), m), s), b), left);
        const step = (<usize>min(left, 4)) << 2;
        x += step;
        y += step;
      }
    }
  }
}

@unmanaged
class GroupNormGradientArgs {
  /** [rows, channels, places]. */
  x: usize;
  /** [groups · channels]. */
  weight: usize;
  /** As x. */
  dy: usize;
  dx: usize;
  /** As x: terms of the weight's gradient. */
  terms: usize;
  groups: i32;
  channels: i32;
  places: i32;
  eps: f32;
}

export function groupNormGradient(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<GroupNormGradientArgs>(args);
  const length = a.channels * a.places;
  for (let r = begin; r < end; r++) {
    const row = (<usize>r * <usize>length) << 2;
    const weight = a.weight + ((<usize>(r % a.groups) * <usize>a.channels) << 2);
    const x = a.x + row;
    const dy = a.dy + row;
    const mean = meanOf(x, length);
    const scale = scaleOf(x, length, mean, a.eps);
    const m = f32x4.splat(mean);
    const s = f32x4.splat(scale);
    let direct: f64 = 0; // Σ g
    let along: f64 = 0; // Σ g · x̂
    // Rows of one weight each: channels of an image, or vectors of a token.
    const stretch = a.places == 1 ? length : a.places;
    for (let first = 0; first < length; first += stretch) {
      const w = weight + ((<usize>(a.places == 1 ? 0 : first / a.places)) << 2);
      const one = f32x4.splat(load<f32>(w));
      let sum = f32x4.splat(0);
      let sumAlong = f32x4.splat(0);
      let inBlock = 0;
      for (let i = 0; i < stretch; i += 4) {
        const left = stretch - i;
        const at = (<usize>(first + i)) << 2;
        const g = f32x4.mul(load4(dy + at, left), a.places == 1 ? load4(w + ((<usize>i) << 2), left) : one);
        sum = f32x4.add(sum, g);
        // Lanes behind the end have g = 0.
        sumAlong = f32x4.add(sumAlong, f32x4.mul(g, f32x4.mul(f32x4.sub(load4(x + at, left), m), s)));
        if (++inBlock == 256) {
          direct += <f64>sumF32(sum);
          along += <f64>sumF32(sumAlong);
          sum = f32x4.splat(0);
          sumAlong = f32x4.splat(0);
          inBlock = 0;
        }
      }
      direct += <f64>sumF32(sum);
      along += <f64>sumF32(sumAlong);
    }
    const pull = f32x4.splat(<f32>(direct / <f64>length));
    const pullAlong = f32x4.splat(<f32>(along / <f64>length));
    for (let first = 0; first < length; first += stretch) {
      const w = weight + ((<usize>(a.places == 1 ? 0 : first / a.places)) << 2);
      const one = f32x4.splat(load<f32>(w));
      for (let i = 0; i < stretch; i += 4) {
        const left = stretch - i;
        const at = (<usize>(first + i)) << 2;
        const up = load4(dy + at, left);
        const here = f32x4.mul(f32x4.sub(load4(x + at, left), m), s);
        const g = f32x4.mul(up, a.places == 1 ? load4(w + ((<usize>i) << 2), left) : one);
        store4(
          a.dx + row + at,
          f32x4.mul(f32x4.sub(f32x4.sub(g, pull), f32x4.mul(here, pullAlong)), s),
          left,
        );
        store4(a.terms + row + at, f32x4.mul(up, here), left);
      }
    }
  }
}
