/** What kernels do to one head of one token before it is attended to or stored: norm and rotary embedding. */

// @ts-ignore: decorator
@inline
const LOW_POSITIONS: i32 = 1024;

/** to = from / rms(from) · weight over D channels (even). */
export function normaliseHead(from: usize, to: usize, weight: usize, headDim: i32, eps: f32): void {
  let s0: f32 = 0, s1: f32 = 0;
  const stop = <usize>headDim << 2;
  for (let c: usize = 0; c < stop; c += 8) {
    const x0 = load<f32>(from + c);
    const x1 = load<f32>(from + c, 4);
    s0 += x0 * x0;
    s1 += x1 * x1;
  }
  const inverseRms: f32 = 1 / sqrt<f32>((s0 + s1) / <f32>headDim + eps);
  for (let c: usize = 0; c < stop; c += 4) store<f32>(to + c, load<f32>(from + c) * inverseRms * load<f32>(weight + c));
}

/**
 * Rotates channel pairs (i, i + r/2) in place; `table` is rope.ts's [LOW + highLines, r]. Four pairs at a time, the rest one by
 * one with the same operations: a channel's bits do not depend on which.
 */
export function rotateHead(x: usize, table: usize, rotaryDim: i32, highLines: i32, position: i32): void {
  const half = <usize>(rotaryDim >> 1) << 2;
  const line = <usize>rotaryDim << 2;
  const low = table + <usize>(position % LOW_POSITIONS) * line;
  const high = table + <usize>(LOW_POSITIONS + min(position / LOW_POSITIONS, highLines - 1)) * line;
  let c: usize = 0;
  for (; c + 16 <= half; c += 16) {
    const lowCos = v128.load(low + c), lowSin = v128.load(low + half + c);
    const highCos = v128.load(high + c), highSin = v128.load(high + half + c);
    const cosine = f32x4.sub(f32x4.mul(lowCos, highCos), f32x4.mul(lowSin, highSin));
    const sine = f32x4.add(f32x4.mul(lowSin, highCos), f32x4.mul(lowCos, highSin));
    const x0 = v128.load(x + c), x1 = v128.load(x + half + c);
    v128.store(x + c, f32x4.sub(f32x4.mul(x0, cosine), f32x4.mul(x1, sine)));
    v128.store(x + half + c, f32x4.add(f32x4.mul(x1, cosine), f32x4.mul(x0, sine)));
  }
  for (; c < half; c += 4) {
    const lowCos = load<f32>(low + c), lowSin = load<f32>(low + half + c);
    const highCos = load<f32>(high + c), highSin = load<f32>(high + half + c);
    const cosine = lowCos * highCos - lowSin * highSin;
    const sine = lowSin * highCos + lowCos * highSin;
    const x0 = load<f32>(x + c), x1 = load<f32>(x + half + c);
    store<f32>(x + c, x0 * cosine - x1 * sine);
    store<f32>(x + half + c, x1 * cosine + x0 * sine);
  }
}

/** Takes `rotateHead` back in place. `inverseSquare`: 1/f², f the attention factor that is in the table's cosines and sines. */
export function unrotateHead(
  x: usize,
  table: usize,
  rotaryDim: i32,
  highLines: i32,
  position: i32,
  inverseSquare: f32,
): void {
  const half = <usize>(rotaryDim >> 1) << 2;
  const line = <usize>rotaryDim << 2;
  const low = table + <usize>(position % LOW_POSITIONS) * line;
  const high = table + <usize>(LOW_POSITIONS + min(position / LOW_POSITIONS, highLines - 1)) * line;
  for (let c: usize = 0; c < half; c += 4) {
    const lowCos = load<f32>(low + c), lowSin = load<f32>(low + half + c);
    const highCos = load<f32>(high + c), highSin = load<f32>(high + half + c);
    const cosine = lowCos * highCos - lowSin * highSin;
    const sine = lowSin * highCos + lowCos * highSin;
    const x0 = load<f32>(x + c), x1 = load<f32>(x + half + c);
    store<f32>(x + c, (x0 * cosine + x1 * sine) * inverseSquare);
    store<f32>(x + half + c, (x1 * cosine - x0 * sine) * inverseSquare);
  }
}
