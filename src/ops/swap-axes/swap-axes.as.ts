/** Two axes change places on the CPU. A task is a row [B, U] of the result. */

@unmanaged
class SwapAxesArgs {
  /** [A, B, C, U]. */
  x: usize;
  /** [A, C, B, U]. */
  y: usize;
  b: i32;
  c: i32;
  u: i32;
  xOffset: i32;
  yOffset: i32;
  xRow: i32;
  yRow: i32;
}

export function swapAxes(args: usize, begin: i32, end: i32, worker: i32): void {
  const p = changetype<SwapAxesArgs>(args);
  const unit = (<usize>p.u) << 2;
  const step = (<usize>p.xRow) << 2;
  for (let task = begin; task < end; task++) {
    const a = task / p.c;
    const c = task % p.c;
    let x = p.x + ((<usize>p.xOffset) << 2) + <usize>a * <usize>p.b * step + <usize>c * unit;
    let y = p.y + ((<usize>p.yOffset) << 2) + ((<usize>task * <usize>p.yRow) << 2);
    for (let b = 0; b < p.b; b++) {
      if (unit == 4) store<f32>(y, load<f32>(x));
      else if (unit == 8) store<u64>(y, load<u64>(x));
      else memory.copy(y, x, unit);
      x += step;
      y += unit;
    }
  }
}
