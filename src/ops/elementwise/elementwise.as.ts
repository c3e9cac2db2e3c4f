/** Elementwise operations. A task is a block of 4,096 columns of a row. */
import { load4, sigmoid, silu, store4 } from "../simd.inline.as";

@unmanaged
class ElementwiseArgs {
  a: usize;
  /** The second operand, bias, or upstream gradient. */
  b: usize;
  /** A number a row, for blends. */
  logits: usize;
  y: usize;
  /** Columns of a row of the result (of the upstream gradient for gated gradients). */
  columns: i32;
  rows: i32;
  alpha: f32;
  beta: f32;
  /** Blocks of a row. */
  perRow: i32;
}

const BLOCK: i32 = 4096;

// Operations, as generic arguments of the walk.
const MIX: i32 = 0;
const SCALE: i32 = 1;
const MULTIPLY: i32 = 2;
const BIAS: i32 = 3;
const SUM_ROWS: i32 = 4;
const VALUE: i32 = 5;
const GRADIENT: i32 = 6;
const GATED: i32 = 7;
const GATED_GRADIENT: i32 = 8;
const BLEND: i32 = 9;
const BLEND_FIRST: i32 = 10;
const BLEND_SECOND: i32 = 11;
const BLEND_TERMS: i32 = 12;

const SILU: i32 = 0;
const SIGMOID: i32 = 1;
const GELU: i32 = 2;

@inline
function inner(x: v128): v128 {
  const cube = f32x4.mul(f32x4.mul(x, x), x);
  return f32x4.mul(f32x4.splat(0.7978845608), f32x4.add(x, f32x4.mul(f32x4.splat(0.044715), cube)));
}

@inline
function value(activation: i32, x: v128): v128 {
  if (activation == SILU) return silu(x);
  if (activation == SIGMOID) return sigmoid(x);
  return f32x4.mul(x, sigmoid(f32x4.mul(f32x4.splat(2), inner(x))));
}

@inline
function gradient(activation: i32, x: v128): v128 {
  const one = f32x4.splat(1);
  if (activation == GELU) {
    const s = sigmoid(f32x4.mul(f32x4.splat(2), inner(x)));
    const slope = f32x4.mul(
      f32x4.splat(0.7978845608),
      f32x4.add(one, f32x4.mul(f32x4.splat(0.134145), f32x4.mul(x, x))),
    );
    const bend = f32x4.mul(f32x4.mul(f32x4.mul(f32x4.splat(2), x), f32x4.mul(s, f32x4.sub(one, s))), slope);
    return f32x4.add(s, bend);
  }
  const s = sigmoid(x);
  const rest = f32x4.sub(one, s);
  if (activation == SIGMOID) return f32x4.mul(s, rest);
  return f32x4.mul(s, f32x4.add(one, f32x4.mul(x, rest)));
}

@inline
function walk(args: usize, begin: i32, end: i32, operation: i32, activation: i32): void {
  const a = changetype<ElementwiseArgs>(args);
  const columns = a.columns;
  const isPair = operation == GATED || operation == GATED_GRADIENT;
  for (let task = begin; task < end; task++) {
    const row = task / a.perRow;
    const first = (task % a.perRow) * BLOCK;
    const at = (<usize>row * <usize>columns + <usize>first) << 2;
    // Rows of the wide tensor of a gated pair hold two halves.
    const pair = (<usize>row * <usize>columns * 2 + <usize>first) << 2;
    const half = (<usize>columns) << 2;
    let left = min(columns - first, BLOCK);
    let offset: usize = 0;
    while (left > 0) {
      const here = at + offset;
      let y: v128;
      if (operation == MIX) {
        y = f32x4.add(
          f32x4.mul(f32x4.splat(a.alpha), load4(a.a + here, left)),
          f32x4.mul(f32x4.splat(a.beta), load4(a.b + here, left)),
        );
      } else if (operation == SCALE) {
        y = f32x4.mul(f32x4.splat(a.alpha), load4(a.a + here, left));
      } else if (operation == MULTIPLY) {
        y = f32x4.mul(load4(a.a + here, left), load4(a.b + here, left));
      } else if (operation == BIAS) {
        y = f32x4.add(load4(a.a + here, left), load4(a.b + ((<usize>first) << 2) + offset, left));
      } else if (operation == SUM_ROWS) {
        y = f32x4.splat(0);
        const last = min(row * 64 + 64, a.rows);
        for (let t = row * 64; t < last; t++) {
          y = f32x4.add(y, load4(a.a + ((<usize>t * <usize>columns + <usize>first) << 2) + offset, left));
        }
      } else if (operation >= BLEND) {
        const share = sigmoid(v128.load32_splat(a.logits + ((<usize>row) << 2)));
        const rest = f32x4.sub(f32x4.splat(1), share);
        const first = load4(a.a + here, left);
        if (operation == BLEND) {
          y = f32x4.add(f32x4.mul(rest, first), f32x4.mul(share, load4(a.b + here, left)));
        } else if (operation == BLEND_FIRST) {
          y = f32x4.mul(rest, first);
        } else if (operation == BLEND_SECOND) {
          y = f32x4.mul(share, first);
        } else {
          y = f32x4.mul(f32x4.mul(first, load4(a.b + here, left)), f32x4.mul(share, rest));
        }
      } else if (operation == VALUE) {
        y = value(activation, load4(a.a + here, left));
      } else if (operation == GRADIENT) {
        y = f32x4.mul(load4(a.b + here, left), gradient(activation, load4(a.a + here, left)));
      } else {
        const x = load4(a.a + pair + offset, left);
        const up = load4(a.a + pair + half + offset, left);
        if (operation == GATED) {
          y = f32x4.mul(value(activation, x), up);
        } else {
          const dy = load4(a.b + here, left);
          store4(a.y + pair + half + offset, f32x4.mul(dy, value(activation, x)), left);
          y = f32x4.mul(f32x4.mul(dy, up), gradient(activation, x));
        }
      }
      store4((operation == GATED_GRADIENT ? a.y + pair : a.y + at) + offset, y, left);
      offset += 16;
      left -= 4;
    }
  }
}

export function elementwiseMix(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, MIX, SILU);
}

export function elementwiseScale(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, SCALE, SILU);
}

export function elementwiseMultiply(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, MULTIPLY, SILU);
}

export function elementwiseAddBias(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, BIAS, SILU);
}

export function elementwiseSumRows(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, SUM_ROWS, SILU);
}

export function elementwiseSilu(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, VALUE, SILU);
}

export function elementwiseSiluGradient(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, GRADIENT, SILU);
}

export function elementwiseSiluGated(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, GATED, SILU);
}

export function elementwiseSiluGatedGradient(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, GATED_GRADIENT, SILU);
}

export function elementwiseSigmoid(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, VALUE, SIGMOID);
}

export function elementwiseSigmoidGradient(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, GRADIENT, SIGMOID);
}

export function elementwiseSigmoidGated(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, GATED, SIGMOID);
}

export function elementwiseSigmoidGatedGradient(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, GATED_GRADIENT, SIGMOID);
}

export function elementwiseGelu(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, VALUE, GELU);
}

export function elementwiseGeluGradient(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, GRADIENT, GELU);
}

export function elementwiseGeluGated(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, GATED, GELU);
}

export function elementwiseGeluGatedGradient(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, GATED_GRADIENT, GELU);
}

export function elementwiseBlend(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, BLEND, SILU);
}

export function elementwiseBlendFirst(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, BLEND_FIRST, SILU);
}

export function elementwiseBlendSecond(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, BLEND_SECOND, SILU);
}

export function elementwiseBlendTerms(args: usize, begin: i32, end: i32, worker: i32): void {
  walk(args, begin, end, BLEND_TERMS, SILU);
}
