/**
 * CPU kernels of lightning attention.
 *
 * Decode: a task is (token, head, slice of value columns). One pass over the state, four key rows at a time, bound by memory.
 * Prefill: a task is (row, head, slice). The slice of the state is held in panels of eight columns while the row's blocks of
 * 32 tokens go by; everything is 4 × 8 products (block.inline.as.ts). Rows of one token take the decode path.
 *
 * Columns of the state are independent and no sum is split, so that slices and threads never change a result.
 */
import { expScalar, madd, load4, store4 } from "../simd.inline.as";
import { multiplyStrided, packPanels, packScaled, packTransposed } from "./block.inline.as";

@unmanaged
class LightningArgs {
  /** [T, H, 3, D]. */
  qkv: usize;
  /** [slots, H, D, D]. */
  state: usize;
  /** [H]. */
  decay: usize;
  /** Decode: the step's tokens. Prefill: its rows. */
  words: usize;
  /** [T, H, D]. */
  out: usize;
  /** Prefill only. */
  scratch: usize;
  scratchBytes: i32;
  heads: i32;
  headDim: i32;
  slices: i32;
  sliceColumns: i32;
}

/** B. */
// @ts-ignore: decorator
@inline
const BLOCK: i32 = 32;

/** exp(−slope · n), or 0 where it would lead to subnormal products (exp(−69) = 1e-30). */
// @ts-ignore: decorator
@inline
function decayOver(slope: f32, n: i32): f32 {
  const x = slope * <f32>n;
  return x > 69 ? 0 : expScalar(-x);
}

/** Columns [from, to) of one key row, for the edges that `stepOne` leaves. */
// @ts-ignore: decorator
@inline
function stepRow(
  q: usize, k: usize, v: usize, state: usize, line: usize, lambda: v128, out: usize, row: i32, from: i32, to: i32,
): void {
  const kr = v128.load_splat<f32>(k + ((<usize>row) << 2));
  const qr = v128.load_splat<f32>(q + ((<usize>row) << 2));
  for (let column = from; column < to; column += 4) {
    const c = (<usize>column) << 2;
    const left = to - column;
    const s = state + <usize>row * line + c;
    const next = madd(lambda, load4(s, left), f32x4.mul(kr, load4(v + c, left)));
    store4(s, next, left);
    store4(out + c, madd(qr, next, load4(out + c, left)), left);
  }
}

/** Columns [from, to) of one token: S ← λ S + kᵀ v, out = q S. `qkv`, `state` and `out` point at the head's numbers. */
function stepOne(qkv: usize, state: usize, lambda: f32, out: usize, headDim: i32, from: i32, to: i32): void {
  const line = (<usize>headDim) << 2;
  const k = qkv + line;
  const v = k + line + ((<usize>from) << 2);
  const count = to - from;
  const whole = (<usize>(count & ~3)) << 2;
  out += (<usize>from) << 2;
  state += (<usize>from) << 2;
  memory.fill(out, 0, (<usize>count) << 2);
  const f = f32x4.splat(lambda);
  let r = 0;
  for (; r + 4 <= headDim; r += 4) {
    const kr = k + ((<usize>r) << 2);
    const qr = qkv + ((<usize>r) << 2);
    const k0 = v128.load_splat<f32>(kr), k1 = v128.load_splat<f32>(kr, 4);
    const k2 = v128.load_splat<f32>(kr, 8), k3 = v128.load_splat<f32>(kr, 12);
    const q0 = v128.load_splat<f32>(qr), q1 = v128.load_splat<f32>(qr, 4);
    const q2 = v128.load_splat<f32>(qr, 8), q3 = v128.load_splat<f32>(qr, 12);
    let s = state + <usize>r * line;
    for (let c: usize = 0; c < whole; c += 16) {
      const vc = v128.load(v + c);
      let sum = v128.load(out + c);
      const s0 = madd(f, v128.load(s), f32x4.mul(k0, vc));
      v128.store(s, s0);
      sum = madd(q0, s0, sum);
      const s1 = madd(f, v128.load(s + line), f32x4.mul(k1, vc));
      v128.store(s + line, s1);
      sum = madd(q1, s1, sum);
      const s2 = madd(f, v128.load(s + 2 * line), f32x4.mul(k2, vc));
      v128.store(s + 2 * line, s2);
      sum = madd(q2, s2, sum);
      const s3 = madd(f, v128.load(s + 3 * line), f32x4.mul(k3, vc));
      v128.store(s + 3 * line, s3);
      v128.store(out + c, madd(q3, s3, sum));
      s += 16;
    }
  }
  // Key rows behind a multiple of four; then for all others the columns behind one.
  for (let row = r; row < headDim; row++) stepRow(qkv, k, v, state, line, f, out, row, 0, count);
  if (whole == (<usize>count) << 2) return;
  for (let row = 0; row < r; row++) stepRow(qkv, k, v, state, line, f, out, row, count & ~3, count);
}

export function lightningDecode(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<LightningArgs>(args);
  const headDim = g.headDim;
  const line = (<usize>headDim) << 2;
  for (let task = begin; task < end; task++) {
    const from = (task % g.slices) * g.sliceColumns;
    const to = min(from + g.sliceColumns, headDim);
    const lane = task / g.slices; // token · H + head
    const head = lane % g.heads;
    const slot = load<i32>(g.words + ((<usize>(lane / g.heads)) << 4), 12);
    const out = g.out + <usize>lane * line;
    if (slot < 0) {
      memory.fill(out + ((<usize>from) << 2), 0, (<usize>(to - from)) << 2);
      continue;
    }
    const lambda = decayOver(load<f32>(g.decay + ((<usize>head) << 2)), 1);
    const state = g.state + <usize>(slot * g.heads + head) * <usize>headDim * line;
    stepOne(g.qkv + <usize>lane * 3 * line, state, lambda, out, headDim, from, to);
  }
}

export function lightningPrefill(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<LightningArgs>(args);
  const headDim = g.headDim;
  const heads = g.heads;
  const line = (<usize>headDim) << 2;
  const channels = (headDim + 3) & ~3;
  const packedLine = (<usize>channels) << 2;
  // Scratch of this worker, in the order of scratchBytes (lightning-attention.launch-cpu.ts).
  const powers = g.scratch + <usize>worker * g.scratchBytes + 64; // after 16 zeros: exp(−s·n) for n = −16 … BLOCK
  const tile = powers + 192;
  const attention = tile + 128; // [i / 8, j, 8]: A transposed, columns are tokens i
  const q = attention + 4096; // [i / 8, channel, 8]
  const k = q + <usize>BLOCK * packedLine; // [j / 4, channel, 4]
  const keys = k + <usize>BLOCK * packedLine; // [j, channel], decayed up to the block's end
  const values = keys + <usize>BLOCK * packedLine; // [column / 8, j, 8]

  for (let task = begin; task < end; task++) {
    const from = (task % g.slices) * g.sliceColumns;
    const columns = min(from + g.sliceColumns, headDim) - from;
    const head = (task / g.slices) % heads;
    const word = g.words + ((<usize>(task / (g.slices * heads))) << 4);
    const first = load<i32>(word);
    const count = load<i32>(word, 4);
    const slot = load<i32>(word, 8);
    const tokenBytes = <usize>heads * line; // of out; three times that of qkv
    const outHead = g.out + <usize>first * tokenBytes + <usize>head * line;
    const qkvHead = g.qkv + <usize>first * 3 * tokenBytes + <usize>head * 3 * line;
    if (slot < 0) {
      for (let t = 0; t < count; t++) {
        memory.fill(outHead + <usize>t * tokenBytes + ((<usize>from) << 2), 0, (<usize>columns) << 2);
      }
      continue;
    }
    const slope = load<f32>(g.decay + ((<usize>head) << 2));
    const state = g.state + <usize>(slot * heads + head) * <usize>headDim * line;
    if (count == 1) {
      stepOne(qkvHead, state, decayOver(slope, 1), outHead, headDim, from, from + columns);
      continue;
    }

    memory.fill(powers - 64, 0, 64);
    for (let n = 0; n <= BLOCK; n++) store<f32>(powers + ((<usize>n) << 2), decayOver(slope, n));
    const panels = (columns + 7) >> 3;
    const panelBytes = (<usize>channels) << 5;
    const sums = values + ((<usize>panels) << 10); // [column / 8, channel, 8]: the state's slice
    const stateColumns = state + ((<usize>from) << 2);
    for (let r = 0; r < headDim; r++) {
      packPanels(stateColumns + <usize>r * line, columns, sums + ((<usize>r) << 5), panelBytes);
    }
    for (let r = headDim; r < channels; r++) {
      for (let c = 0; c < panels; c++) memory.fill(sums + <usize>c * panelBytes + ((<usize>r) << 5), 0, 32);
    }

    for (let start = 0; start < count; start += BLOCK) {
      const m = min(BLOCK, count - start);
      const block = qkvHead + <usize>start * 3 * tokenBytes;
      for (let i = 0; i < m; i += 8) {
        const to = q + ((<usize>(i >> 3)) * panelBytes);
        const at = block + <usize>i * 3 * tokenBytes;
        packTransposed(at, 3 * tokenBytes, m - i, headDim, to, 32);
        packTransposed(at + 12 * tokenBytes, 3 * tokenBytes, m - i - 4, headDim, to + 16, 32);
      }
      for (let j = 0; j < m; j += 4) {
        const at = block + <usize>j * 3 * tokenBytes + line;
        packTransposed(at, 3 * tokenBytes, m - j, headDim, k + <usize>j * packedLine, 16);
      }
      for (let j = 0; j < m; j++) {
        const at = block + <usize>j * 3 * tokenBytes + line;
        packScaled(at, headDim, load<f32>(powers + ((<usize>(m - 1 - j)) << 2)), keys + <usize>j * packedLine);
        packPanels(at + line + ((<usize>from) << 2), columns, values + ((<usize>j) << 5), 1024);
      }

      // A: only tokens j up to the last i of a panel; what a panel holds above the diagonal becomes 0.
      for (let i = 0; i < m; i += 8) {
        const panel = attention + ((<usize>i) << 7);
        for (let j = 0; j < min(i + 8, m); j += 4) {
          const at = panel + ((<usize>j) << 5);
          multiplyStrided(channels, k + <usize>j * packedLine, 16, q + ((<usize>(i >> 3)) * panelBytes), at, 0);
          for (let n = 0; n < 4; n++) {
            const decays = powers + (<usize>((i - j - n) << 2));
            const to = at + ((<usize>n) << 5);
            v128.store(to, f32x4.mul(v128.load(to), v128.load(decays)));
            v128.store(to, f32x4.mul(v128.load(to, 16), v128.load(decays, 16)), 16);
          }
        }
      }

      for (let c = 0; c < panels; c++) {
        const panel = sums + <usize>c * panelBytes;
        const blockValues = values + ((<usize>c) << 10);
        const left = columns - 8 * c;
        for (let i = 0; i < m; i += 4) {
          const half = (<usize>(i & 4)) << 2;
          multiplyStrided(channels, q + ((<usize>(i >> 3)) * panelBytes) + half, 32, panel, tile, 0);
          for (let n = 0; n < 4; n++) {
            const at = tile + ((<usize>n) << 5);
            // Lines from m on are zeros whatever they are multiplied with.
            const power = v128.load_splat<f32>(powers + ((<usize>min(i + n + 1, BLOCK)) << 2));
            v128.store(at, f32x4.mul(v128.load(at), power));
            v128.store(at, f32x4.mul(v128.load(at, 16), power), 16);
          }
          multiplyStrided(min(i + 4, m), attention + ((<usize>(i & ~7)) << 7) + half, 32, blockValues, tile, 1);
          for (let n = 0; n < min(4, m - i); n++) {
            const to = outHead + <usize>(start + i + n) * tokenBytes + ((<usize>(from + 8 * c)) << 2);
            const at = tile + ((<usize>n) << 5);
            store4(to, v128.load(at), left);
            if (left > 4) store4(to + 16, v128.load(at, 16), left - 4);
          }
        }
        const keep = load<f32>(powers + ((<usize>m) << 2));
        for (let r = 0; r < channels; r += 4) {
          multiplyStrided(m, keys + ((<usize>r) << 2), packedLine, blockValues, panel + ((<usize>r) << 5), keep);
        }
      }
    }

    for (let r = 0; r < headDim; r++) {
      for (let c = 0; c < columns; c += 4) {
        const at = sums + ((<usize>(c >> 3)) * panelBytes) + ((<usize>r) << 5) + ((<usize>(c & 4)) << 2);
        store4(stateColumns + <usize>r * line + ((<usize>c) << 2), v128.load(at), columns - c);
      }
    }
  }
}
