/** Rotary embedding into a new tensor on the CPU: a task is one head of one token. */

@unmanaged
class RotateArgs {
  /** [T, heads, D]. */
  x: usize;
  tokens: usize;
  /** [LOW + highLines, rotaryDim]. */
  table: usize;
  y: usize;
  columns: i32;
  turnedHeads: i32;
  headDim: i32;
  rotaryDim: i32;
  highLines: i32;
  direction: f32;
}

// @ts-ignore: decorator
@inline
const LOW_POSITIONS: i32 = 1024;

export function rotate(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<RotateArgs>(args);
  const bytes = (<usize>g.headDim) << 2;
  const half = (<usize>(g.rotaryDim >> 1)) << 2;
  const line = (<usize>g.rotaryDim) << 2;
  for (let task = begin; task < end; task++) {
    const x = g.x + <usize>task * bytes;
    const y = g.y + <usize>task * bytes;
    memory.copy(y, x, bytes);
    if (task % g.columns >= g.turnedHeads) continue;
    const position = load<i32>(g.tokens + ((<usize>(task / g.columns)) << 4), 4);
    const low = g.table + <usize>(position % LOW_POSITIONS) * line;
    const high = g.table + <usize>(LOW_POSITIONS + min(position / LOW_POSITIONS, g.highLines - 1)) * line;
    for (let c: usize = 0; c < half; c += 4) {
      const lowCos = load<f32>(low + c);
      const lowSin = load<f32>(low + half + c);
      const highCos = load<f32>(high + c);
      const highSin = load<f32>(high + half + c);
      const cosine = lowCos * highCos - lowSin * highSin;
      const sine = g.direction * (lowSin * highCos + lowCos * highSin);
      const x0 = load<f32>(x + c);
      const x1 = load<f32>(x + half + c);
      store<f32>(y + c, x0 * cosine - x1 * sine);
      store<f32>(y + half + c, x1 * cosine + x0 * sine);
    }
  }
}
