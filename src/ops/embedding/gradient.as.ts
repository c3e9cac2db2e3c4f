/** The gradient of the embedding look-up. A task is a row of the table that the step names. */
import { load4, store4 } from "../simd.inline.as";

@unmanaged
class EmbeddingGradientArgs {
  /** [T, columns]. */
  dy: usize;
  /** Four words each: id, first, end of its tokens. */
  groups: usize;
  tokens: usize;
  /** [V, stride], zeros before. */
  dTable: usize;
  columns: i32;
  stride: i32;
}

export function embeddingGradient(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<EmbeddingGradientArgs>(args);
  for (let task = begin; task < end; task++) {
    const group = g.groups + ((<usize>task) << 4);
    const to = g.dTable + ((<usize>load<i32>(group) * <usize>g.stride) << 2);
    const last = load<i32>(group, 8);
    for (let i = load<i32>(group, 4); i < last; i++) {
      const from = g.dy + ((<usize>load<i32>(g.tokens + ((<usize>i) << 2)) * <usize>g.columns) << 2);
      for (let c = 0; c < g.columns; c += 4) {
        const at = (<usize>c) << 2;
        const left = g.columns - c;
        store4(to + at, f32x4.add(load4(to + at, left), load4(from + at, left)), left);
      }
    }
  }
}
