/** The sweeps of the gradient of lightning attention (see lightning-attention.gradient.ts). A task is a head of a row. */
import { expScalar, load4, store4, sumF32 } from "../simd.inline.as";

@unmanaged
class SweepArgs {
  /** [T, H, 3, D]. */
  qkv: usize;
  /** [T, H, D]. */
  dOut: usize;
  /** [slots, H, D, D]. */
  initial: usize;
  decay: usize;
  rows: usize;
  dQkv: usize;
  dState: usize;
  scratch: usize;
  scratchBytes: i32;
  heads: i32;
  headDim: i32;
  /** 0 dq, 1 dk, 2 dv. */
  sweep: i32;
}

const Q: i32 = 0;
const K: i32 = 1;
const V: i32 = 2;
const D_OUT: i32 = 3;

@inline
function vectorOf(g: SweepArgs, which: i32, at: i32): usize {
  const bytes = (<usize>g.headDim) << 2;
  return which == D_OUT ? g.dOut + <usize>at * bytes : g.qkv + (<usize>at * 3 + <usize>which) * bytes;
}

export function lightningSweep(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<SweepArgs>(args);
  const D = g.headDim;
  const line = <usize>(((D + 3) >> 2) << 4);
  const m = g.scratch + <usize>worker * <usize>g.scratchBytes;
  const a = g.sweep == 0 ? K : g.sweep == 1 ? Q : D_OUT;
  const b = g.sweep == 0 ? V : g.sweep == 1 ? D_OUT : Q;
  const w = g.sweep == 0 ? D_OUT : g.sweep == 1 ? V : K;
  const isBackward = g.sweep != 0;
  for (let task = begin; task < end; task++) {
    const row = g.rows + ((<usize>(task / g.heads)) << 4);
    const head = task % g.heads;
    const slot = load<i32>(row, 8);
    if (slot < 0) continue;
    const first = load<i32>(row);
    const count = load<i32>(row, 4);
    const lambda = expScalar(-load<f32>(g.decay + ((<usize>head) << 2)));
    const base = (<usize>(slot * g.heads + head) * <usize>D * <usize>D) << 2;
    for (let i = 0; i < D; i++) {
      for (let j = 0; j < D; j++) {
        const from = g.sweep == 2 ? j * D + i : i * D + j;
        store<f32>(m + <usize>i * line + ((<usize>j) << 2), load<f32>(g.initial + base + ((<usize>from) << 2)));
      }
    }
    for (let n = 0; n < count; n++) {
      const t = isBackward ? first + count - 1 - n : first + n;
      const at = t * g.heads + head;
      const f = f32x4.splat(isBackward && n == 0 ? 1 : lambda);
      const pa = vectorOf(g, a, at);
      const pb = vectorOf(g, b, at);
      const pw = vectorOf(g, w, at);
      const out = g.dQkv + ((<usize>at * 3 + <usize>g.sweep) * <usize>D << 2);
      for (let i = 0; i < D; i++) {
        const factor = f32x4.splat(load<f32>(pa + ((<usize>i) << 2)));
        const mine = m + <usize>i * line;
        let sum = f32x4.splat(0);
        for (let j = 0; j < D; j += 4) {
          const left = D - j;
          const offset = (<usize>j) << 2;
          const next = f32x4.add(f32x4.mul(f, v128.load(mine + offset)), f32x4.mul(factor, load4(pb + offset, left)));
          v128.store(mine + offset, next);
          sum = f32x4.add(sum, f32x4.mul(next, load4(pw + offset, left)));
        }
        store<f32>(out + ((<usize>i) << 2), sumF32(sum));
      }
    }
    if (g.sweep != 1) continue;
    const decayed = f32x4.splat(lambda);
    for (let i = 0; i < D; i++) {
      for (let j = 0; j < D; j += 4) {
        const offset = (<usize>j) << 2;
        const here = f32x4.mul(decayed, v128.load(m + <usize>i * line + offset));
        store4(g.dState + base + (((<usize>i * <usize>D)) << 2) + offset, here, D - j);
      }
    }
  }
}
