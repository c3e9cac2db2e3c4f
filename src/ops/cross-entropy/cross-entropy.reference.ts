/** The mean cross-entropy of a head, in float64. */

/** x: [T, K]; w: [V, stride] of which K columns count; targets: −1 where nothing is foretold. */
export function crossEntropyReference(
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  targets: readonly number[],
  { K, stride, count }: { readonly K: number; readonly stride: number; readonly count: number },
): Float64Array {
  const V = w.length / stride;
  let sum = 0;
  for (const [t, target] of targets.entries()) {
    if (target < 0) continue;
    const logits = Array.from({ length: V }, (_, v) => {
      let z = 0;
      for (let k = 0; k < K; k++) z += x[t * K + k]! * w[v * stride + k]!;
      return z;
    });
    const best = Math.max(...logits);
    const total = logits.reduce((a, z) => a + Math.exp(z - best), 0);
    sum += Math.log(total) + best - logits[target]!;
  }
  return Float64Array.of(sum / count);
}
