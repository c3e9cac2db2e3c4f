/** What follows the weighted sum of the experts: shared expert, residual, store. */
import { sigmoid } from "../simd.inline.as";

/** The first words of the arguments of every kernel that ends in a mix. */
@unmanaged
export class MixArgs {
  /** [T, channels]. */
  out: usize;
  /** [T, topK]. */
  weights: usize;
  /** [T, channels], or 0. */
  shared: usize;
  /** [T], or 0. */
  coefficient: usize;
  /** [T, channels], or 0. */
  residual: usize;
  alpha: f32;
  beta: f32;
  channels: i32;
  topK: i32;
}

/** The four results whose weighted sums are y. */
// @ts-ignore: decorator
@inline
export function mix(m: MixArgs, token: i32, y: v128, shared: v128, residual: v128): v128 {
  if (m.shared) {
    if (m.coefficient) {
      const c = sigmoid(v128.load_splat<f32>(m.coefficient + ((<usize>token) << 2)));
      y = f32x4.add(f32x4.mul(f32x4.sub(f32x4.splat(1), c), y), f32x4.mul(c, shared));
    } else {
      y = f32x4.add(y, shared);
    }
  }
  if (m.residual) y = f32x4.add(f32x4.mul(f32x4.splat(m.alpha), residual), f32x4.mul(f32x4.splat(m.beta), y));
  return y;
}

/** Stores channel c of a token. */
export function mixOne(m: MixArgs, token: i32, c: i32, y: f32): void {
  const at = (<usize>token * <usize>m.channels + <usize>c) << 2;
  const shared: f32 = m.shared ? load<f32>(m.shared + at) : 0;
  const residual: f32 = m.residual ? load<f32>(m.residual + at) : 0;
  const mixed = mix(m, token, f32x4.splat(y), f32x4.splat(shared), f32x4.splat(residual));
  store<f32>(m.out + at, f32x4.extract_lane(mixed, 0));
}

/** Stores channels c … c + 3 of a token, all of which exist. */
export function mixFour(m: MixArgs, token: i32, c: i32, y: v128): void {
  const at = (<usize>token * <usize>m.channels + <usize>c) << 2;
  const shared = m.shared ? v128.load(m.shared + at) : f32x4.splat(0);
  const residual = m.residual ? v128.load(m.residual + at) : f32x4.splat(0);
  v128.store(m.out + at, mix(m, token, y, shared, residual));
}

/** Stores channels c … c + 3 of a token, as far as they exist. */
export function mixSome(m: MixArgs, token: i32, c: i32, y: v128): void {
  const width = m.channels - c;
  if (width >= 4) {
    mixFour(m, token, c, y);
    return;
  }
  mixOne(m, token, c, f32x4.extract_lane(y, 0));
  if (width > 1) mixOne(m, token, c + 1, f32x4.extract_lane(y, 1));
  if (width > 2) mixOne(m, token, c + 2, f32x4.extract_lane(y, 2));
}
