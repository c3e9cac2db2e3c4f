/** CPU kernel that joins the parts of attention over packed pages: a task is one head of one token. */
import { expScalar, madd } from "../simd.inline.as";
import { hadamard } from "../fwht/fwht.inline.as";
import { NOTHING } from "./packed-tokens.inline.as";

@unmanaged
class PackedCombineArgs {
  /** [part, results, D]; the first part may be `out` itself. */
  parts: usize;
  /** [part, results, 2]: maximum and sum. */
  stats: usize;
  /** [results, D]. */
  out: usize;
  /** [G, D], or 0: the mean that was taken off the values. */
  mean: usize;
  count: i32;
  results: i32;
  headDim: i32;
  /** Width of the Hadamard blocks to undo; 0: none. */
  rotation: i32;
  /** 1 / √ of it. */
  rotationScale: f32;
  heads: i32;
  /** Query heads of a key/value head. */
  perGroup: i32;
}

export function packedAttentionCombine(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<PackedCombineArgs>(args);
  const line = <usize>g.headDim << 2;
  for (let task = begin; task < end; task++) {
    let best = NOTHING;
    for (let i = 0; i < g.count; i++) best = max(best, load<f32>(g.stats + (<usize>(i * g.results + task) << 3)));
    const out = g.out + <usize>task * line;
    let total: f32 = 0;
    for (let i = 0; i < g.count; i++) {
      const part = <usize>(i * g.results + task);
      const sum = load<f32>(g.stats + (part << 3), 4);
      // An empty part has no maximum to compare; its sums are zeros.
      const weight: f32 = sum > 0 ? expScalar(load<f32>(g.stats + (part << 3)) - best) : 0;
      total += weight * sum;
      const w = f32x4.splat(weight);
      const from = g.parts + part * line;
      for (let c: usize = 0; c < line; c += 16) {
        const x = v128.load(from + c);
        v128.store(out + c, i == 0 ? f32x4.mul(w, x) : madd(w, x, v128.load(out + c)));
      }
    }
    const f = f32x4.splat(total > 0 ? 1 / total : 0);
    for (let c: usize = 0; c < line; c += 16) v128.store(out + c, f32x4.mul(v128.load(out + c), f));
    if (g.rotation) hadamard(out, g.headDim, g.rotation, g.rotationScale);
    // A dead token's result stays zero.
    if (g.mean == 0 || !(total > 0)) continue;
    const mean = g.mean + <usize>(task % g.heads / g.perGroup) * line;
    for (let c: usize = 0; c < line; c += 16) v128.store(out + c, f32x4.add(v128.load(out + c), v128.load(mean + c)));
  }
}
