/** Copies the last token of each row. Tasks are rows. */
import { ROW_BYTES, ROW_FIRST_TOKEN, ROW_TOKEN_COUNT } from "../step/layout.inline.as";

@unmanaged
class GatherLastTokensArgs {
  /** [T, channels]. */
  x: usize;
  /** The step's rows. */
  rows: usize;
  /** [R, channels]. */
  y: usize;
  channels: i32;
  tokens: i32;
}

export function gatherLastTokens(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<GatherLastTokensArgs>(args);
  const bytes = (<usize>a.channels) << 2;
  for (let r = begin; r < end; r++) {
    const row = a.rows + <usize>r * ROW_BYTES;
    const count = load<i32>(row + ROW_TOKEN_COUNT);
    const token = load<i32>(row + ROW_FIRST_TOKEN) + count - 1;
    const to = a.y + <usize>r * bytes;
    if (count < 1 || <u32>token >= <u32>a.tokens) memory.fill(to, 0, bytes);
    else memory.copy(to, a.x + <usize>token * bytes, bytes);
  }
}
