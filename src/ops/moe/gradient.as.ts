/**
 * The gradient of the weighted sum of experts (moe.gradient.ts) between its products, and the sums over an expert's positions.
 * Positions are those of tiles.as.ts.
 */
import { DEPTH, multiplyTile } from "../matmul/tile.inline.as";
import { load4, sigmoid, store4, sumF32 } from "../simd.inline.as";

@inline
function at(base: usize, index: i32): usize {
  return base + ((<usize>index) << 2);
}

@unmanaged
class InnerArgs {
  /** [slots, 2 I]. */
  hidden: usize;
  /** [slots, I]. */
  dA: usize;
  /** [pairs]. */
  weights: usize;
  /** [slots]: pair at each position, −1: empty. */
  order: usize;
  /** [slots, 2 I]. */
  dHidden: usize;
  /** [slots, I]: w · a. */
  inner: usize;
  /** [pairs]. */
  dWeights: usize;
  I: i32;
}

/** Gradients of a position's gates and ups, its weighted inner activations, and the gradient of its pair's weight. */
export function moeGradientInner(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<InnerArgs>(args);
  const I = g.I;
  const one = f32x4.splat(1);
  for (let position = begin; position < end; position++) {
    const gates = at(g.hidden, position * 2 * I);
    const slopes = at(g.dA, position * I);
    const dGates = at(g.dHidden, position * 2 * I);
    const inner = at(g.inner, position * I);
    const pair = load<i32>(at(g.order, position));
    if (pair < 0) {
      memory.fill(dGates, 0, (<usize>(2 * I)) << 2);
      memory.fill(inner, 0, (<usize>I) << 2);
      continue;
    }
    const weight = f32x4.splat(load<f32>(at(g.weights, pair)));
    let sums = f32x4.splat(0);
    for (let i = 0; i < I; i += 4) {
      const left = I - i;
      const gate = load4(at(gates, i), left);
      const up = load4(at(gates, I + i), left);
      const slope = load4(at(slopes, i), left);
      const sig = sigmoid(gate);
      const lit = f32x4.mul(gate, sig);
      const a = f32x4.mul(lit, up);
      sums = f32x4.add(sums, f32x4.mul(a, slope));
      const pulled = f32x4.mul(weight, slope);
      const bend = f32x4.mul(sig, f32x4.add(one, f32x4.mul(gate, f32x4.sub(one, sig))));
      store4(at(dGates, i), f32x4.mul(f32x4.mul(pulled, up), bend), left);
      store4(at(dGates, I + i), f32x4.mul(pulled, lit), left);
      store4(at(inner, i), f32x4.mul(weight, a), left);
    }
    store<f32>(at(g.dWeights, pair), sumF32(sums));
  }
}

@unmanaged
class ScatterArgs {
  /** [slots, channels]. */
  products: usize;
  /** [T, topK]: rows of `products`. */
  positions: usize;
  /** [T, channels]. */
  dx: usize;
  channels: i32;
  topK: i32;
}

/** The sum of a token's positions. Tasks are tokens. */
export function moeGradientScatter(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<ScatterArgs>(args);
  for (let token = begin; token < end; token++) {
    for (let c = 0; c < g.channels; c += 4) {
      const left = g.channels - c;
      let sum = f32x4.splat(0);
      for (let pair = token * g.topK; pair < (token + 1) * g.topK; pair++) {
        const position = load<i32>(at(g.positions, pair));
        sum = f32x4.add(sum, load4(at(g.products, position * g.channels + c), left));
      }
      store4(at(g.dx, token * g.channels + c), sum, left);
    }
  }
}

/** Rows at positions: those of x by the pairs' tokens, or positions themselves where topK is 0. */
@unmanaged
class RowsArgs {
  x: usize;
  /** Of x. */
  columns: i32;
  topK: i32;
  /** [slots]. */
  order: usize;
  /** [experts, 2]: first position of each expert, pairs of it. */
  ranges: usize;
  experts: i32;
}

/** The row at a position; empty ones take that of the first of their four, which exists. */
// @ts-ignore: decorator
@inline
function rowAt(p: RowsArgs, position: i32): usize {
  let row = position;
  if (p.topK) {
    let pair = load<i32>(at(p.order, position));
    if (pair < 0) pair = load<i32>(at(p.order, position & ~3));
    row = pair / p.topK;
  }
  return at(p.x, row * p.columns);
}

@unmanaged
class PackColumnsArgs extends RowsArgs {
  /** For each block of at most DEPTH of an expert's positions: [quads of columns, positions, 4]. */
  packed: usize;
}

/**
 * Packs columns for sums over positions: the four values of a position side by side, zeros where no pair is. Tasks are quads
 * of columns.
 */
export function moePackColumns(args: usize, begin: i32, end: i32, worker: i32): void {
  const p = changetype<PackColumnsArgs>(args);
  const width = (p.columns + 3) & ~3;
  for (let quad = begin; quad < end; quad++) {
    const left = p.columns - (quad << 2);
    for (let e = 0; e < p.experts; e++) {
      const first = load<i32>(p.ranges + ((<usize>e) << 3));
      const last = first + ((load<i32>(p.ranges + ((<usize>e) << 3), 4) + 3) & ~3);
      for (let block = first; block < last; block += DEPTH) {
        const depth = min(DEPTH, last - block);
        let to = at(p.packed, block * width + quad * depth * 4);
        for (let position = block; position < block + depth; position++) {
          const isEmpty = load<i32>(at(p.order, position)) < 0;
          v128.store(to, isEmpty ? f32x4.splat(0) : load4(at(rowAt(p, position), quad << 2), left));
          to += 16;
        }
      }
    }
  }
}

@unmanaged
class SumsArgs extends RowsArgs {
  /** What moePackColumns made of the other operand. */
  packed: usize;
  /** [experts · M, stride]. */
  out: usize;
  M: i32;
  stride: i32;
  /** Panels of eight columns of the result. */
  panels: i32;
  /** For each worker: a panel, then the sums [M rounded up to four, 8]. */
  scratch: usize;
  scratchBytes: i32;
}

/** out[e, m, n] = Σ over the expert's positions of packed(m) · row(n). A task is a panel of an expert. */
export function moeGradientSums(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<SumsArgs>(args);
  const height = (g.M + 3) & ~3;
  const panel = g.scratch + <usize>worker * <usize>g.scratchBytes;
  const sums = panel + ((<usize>DEPTH) << 5);
  for (let task = begin; task < end; task++) {
    const e = task / g.panels;
    const n0 = (task % g.panels) << 3;
    const first = load<i32>(g.ranges + ((<usize>e) << 3));
    const last = first + ((load<i32>(g.ranges + ((<usize>e) << 3), 4) + 3) & ~3);
    const left = g.columns - n0;
    if (first == last) memory.fill(sums, 0, (<usize>height) << 5);
    for (let block = first; block < last; block += DEPTH) {
      const depth = min(DEPTH, last - block);
      let to = panel;
      for (let position = block; position < block + depth; position++) {
        const row = at(rowAt(g, position), n0);
        v128.store(to, load4(row, left));
        v128.store(to, left > 4 ? load4(row + 16, left - 4) : f32x4.splat(0), 16);
        to += 32;
      }
      let packed = at(g.packed, block * height);
      for (let m = 0; m < height; m += 4) {
        multiplyTile(depth, packed, panel, sums + ((<usize>m) << 5), block == first);
        packed += (<usize>depth) << 4;
      }
    }
    for (let m = 0; m < g.M; m++) {
      const row = at(g.out, (e * g.M + m) * g.stride + n0);
      const from = sums + ((<usize>m) << 5);
      store4(row, v128.load(from), left);
      if (left > 4) store4(row + 16, v128.load(from, 16), left - 4);
    }
  }
}
