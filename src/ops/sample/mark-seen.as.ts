/** markSeen. One task. */
import { TOKEN_BYTES, TOKEN_ID, TOKEN_SLOT } from "../step/layout.inline.as";

@unmanaged
class MarkSeenArgs {
  tokens: usize;
  seen: usize;
  T: i32;
  words: i32;
}

export function markSeenTokens(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<MarkSeenArgs>(args);
  for (let t = 0; t < g.T; t++) {
    const token = g.tokens + <usize>t * TOKEN_BYTES;
    const id = load<u32>(token, TOKEN_ID);
    const slot = load<i32>(token, TOKEN_SLOT);
    // A negative id is beyond every word.
    if (slot < 0 || id >> 5 >= <u32>g.words) continue;
    const word = g.seen + ((<usize>slot * <usize>g.words + <usize>(id >> 5)) << 2);
    store<u32>(word, load<u32>(word) | (1 << (id & 31)));
  }
}
