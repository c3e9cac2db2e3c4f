/** What follows the sums of a product: bias, activation, gate, multiply, residual, store. */
import { sigmoid, silu } from "../simd.inline.as";

/** The first words of the arguments of every kernel that ends in an epilogue. */
@unmanaged
export class EpilogueArgs {
  /** [T, outputs]. */
  out: usize;
  /** One value for each weight row, or 0. */
  bias: usize;
  /** [T, outputs], or 0. */
  multiply: usize;
  residual: usize;
  alpha: f32;
  beta: f32;
  outputs: i32;
  /** 0 none, 1 silu, 2 sigmoid, 3 gelu. */
  activation: i32;
  gate: i32;
}

/** Room for a copy of the above. */
// @ts-ignore: decorator
@inline
export const EPILOGUE_BYTES: usize = 64;

function activate(activation: i32, z: v128): v128 {
  if (activation == 1) return silu(z);
  if (activation == 2) return sigmoid(z);
  // 0.5 z (1 + tanh u) = z · sigmoid(2u), u = √(2/π) (z + 0.044715 z³)
  const cubic = f32x4.mul(f32x4.mul(z, z), f32x4.splat(0.044715));
  const u = f32x4.mul(f32x4.mul(z, f32x4.splat(1.5957691216)), f32x4.add(f32x4.splat(1), cubic));
  return f32x4.mul(z, sigmoid(u));
}

function finish(e: EpilogueArgs, z: v128, up: v128, multiply: v128, residual: v128): v128 {
  let y = e.activation == 0 ? z : activate(e.activation, z);
  if (e.gate) y = f32x4.mul(y, up);
  if (e.multiply) y = f32x4.mul(y, multiply);
  if (e.residual) y = f32x4.add(f32x4.mul(f32x4.splat(e.alpha), residual), f32x4.mul(f32x4.splat(e.beta), y));
  return y;
}

/** Stores column n of token t, given the sums of its row and (gate) of row `outputs` + n. */
export function finishOne(e: EpilogueArgs, t: i32, n: i32, z: f32, up: f32): void {
  const column = (<usize>n) << 2;
  const at = (<usize>t * <usize>e.outputs + <usize>n) << 2;
  if (e.bias) {
    z += load<f32>(e.bias + column);
    if (e.gate) up += load<f32>(e.bias + ((<usize>e.outputs) << 2) + column);
  }
  const multiply: f32 = e.multiply ? load<f32>(e.multiply + at) : 0;
  const residual: f32 = e.residual ? load<f32>(e.residual + at) : 0;
  const y = finish(e, f32x4.splat(z), f32x4.splat(up), f32x4.splat(multiply), f32x4.splat(residual));
  store<f32>(e.out + at, f32x4.extract_lane(y, 0));
}

/** The same for columns n … n + 3, all of which exist. */
// @ts-ignore: decorator
@inline
export function finishFour(e: EpilogueArgs, t: i32, n: i32, z: v128, up: v128): void {
  const column = (<usize>n) << 2;
  const at = (<usize>t * <usize>e.outputs + <usize>n) << 2;
  if (e.bias) {
    z = f32x4.add(z, v128.load(e.bias + column));
    if (e.gate) up = f32x4.add(up, v128.load(e.bias + ((<usize>e.outputs) << 2) + column));
  }
  if (e.activation == 1) z = silu(z);
  else if (e.activation) z = activate(e.activation, z);
  if (e.gate) z = f32x4.mul(z, up);
  if (e.multiply) z = f32x4.mul(z, v128.load(e.multiply + at));
  if (e.residual) {
    const kept = f32x4.mul(f32x4.splat(e.alpha), v128.load(e.residual + at));
    z = f32x4.add(kept, f32x4.mul(f32x4.splat(e.beta), z));
  }
  v128.store(e.out + at, z);
}

/** The same, as far as the columns exist, given the addresses of four sums (and, `gate`, of four up sums), times `factor`. */
// @ts-ignore: decorator
@inline
export function finishSums(g: EpilogueArgs, t: i32, n0: i32, sums: usize, upSums: usize, factor: f32): void {
  const width = g.outputs - n0;
  if (width >= 4) {
    const f = f32x4.splat(factor);
    finishFour(g, t, n0, f32x4.mul(f, v128.load(sums)), f32x4.mul(f, v128.load(upSums)));
  } else finishEdge(g, t, n0, sums, upSums, factor, width);
}

function finishEdge(g: EpilogueArgs, t: i32, n0: i32, sums: usize, upSums: usize, factor: f32, width: i32): void {
  for (let j = 0; j < width; j++) {
    const at = (<usize>j) << 2;
    finishOne(g, t, n0 + j, factor * load<f32>(sums + at), factor * load<f32>(upSums + at));
  }
}
