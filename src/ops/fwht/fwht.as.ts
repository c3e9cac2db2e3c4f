/** CPU kernel of fwht: a task is a row. */
import { hadamard } from "./fwht.inline.as";

@unmanaged
class FwhtArgs {
  /** [rows, channels]. */
  x: usize;
  y: usize;
  channels: i32;
  width: i32;
  scale: f32;
}

export function fwht(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<FwhtArgs>(args);
  const bytes = <usize>g.channels << 2;
  for (let row = begin; row < end; row++) {
    const y = g.y + <usize>row * bytes;
    memory.copy(y, g.x + <usize>row * bytes, bytes);
    if (g.width >= 4) hadamard(y, g.channels, g.width, g.scale);
    else if (g.width == 2) {
      for (let c: usize = 0; c < bytes; c += 8) {
        const a = load<f32>(y + c), b = load<f32>(y + c, 4);
        store<f32>(y + c, (a + b) * g.scale);
        store<f32>(y + c, (a - b) * g.scale, 4);
      }
    }
  }
}
