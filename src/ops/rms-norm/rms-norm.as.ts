/** RMS normalisation. Tasks are tokens. Bound by memory for long batches, by latency for one token. */
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
