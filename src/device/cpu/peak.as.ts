/**
 * The roof of arithmetic: multiply-adds on registers alone, with enough chains in flight to hide their latency.
 *
 * The relaxed build uses fused multiply-add where the machine has it. The baseline build cannot say it: there a multiply-add
 * is a product and a sum, so its roof is half where both share one pipe, and nearly the same where they do not.
 */

@unmanaged
class PeakArgs {
  /** Steps of a task; each is twelve multiply-adds of four lanes. */
  steps: i32;
  /** Four f32: the factor, out of the compiler's sight. */
  factor: usize;
  /** Four f32 for each task. */
  sums: usize;
}

/** One multiply-add on the chain `own`. */
// @ts-ignore: decorator
@inline
function next(own: v128, neighbour: v128, x: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(own, x, x);
  // The neighbour's product: one of its own would lengthen the chain, and one of constants would be computed once.
  return f32x4.add(own, f32x4.mul(neighbour, x));
}

/**
 * `steps` · 12 multiply-adds of four f32 lanes a task. Twelve sums, the factor and one product fit into the 15 vector
 * registers that engines on x86-64 leave to a loop. That the sums overflow soon costs nothing.
 */
export function peakMultiplyAdd(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<PeakArgs>(args);
  const x = v128.load(g.factor);
  const steps = g.steps;
  for (let task = begin; task < end; task++) {
    let a = f32x4.splat(1);
    let b = f32x4.splat(2);
    let c = f32x4.splat(3);
    let d = f32x4.splat(4);
    let e = f32x4.splat(5);
    let f = f32x4.splat(6);
    let h = f32x4.splat(7);
    let i = f32x4.splat(8);
    let j = f32x4.splat(9);
    let k = f32x4.splat(10);
    let l = f32x4.splat(11);
    let m = f32x4.splat(12);
    for (let step = 0; step < steps; step++) {
      a = next(a, b, x);
      b = next(b, c, x);
      c = next(c, d, x);
      d = next(d, e, x);
      e = next(e, f, x);
      f = next(f, h, x);
      h = next(h, i, x);
      i = next(i, j, x);
      j = next(j, k, x);
      k = next(k, l, x);
      l = next(l, m, x);
      m = next(m, a, x);
    }
    const low = f32x4.add(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)), f32x4.add(e, f));
    const high = f32x4.add(f32x4.add(f32x4.add(h, i), f32x4.add(j, k)), f32x4.add(l, m));
    // Stored, so that no compiler finds the work useless.
    v128.store(g.sums + (<usize>task << 4), f32x4.add(low, high));
  }
}
