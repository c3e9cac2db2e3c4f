/** The load-balancing loss in float64 loops. */

/** logits: of each layer, [T, E]. */
export function balanceLossReference(
  logits: readonly ArrayLike<number>[],
  { E, topK, coefficient }: { readonly E: number; readonly topK: number; readonly coefficient: number },
): number {
  const counts = new Float64Array(E);
  const sums = new Float64Array(E);
  let N = 0;
  for (const z of logits) {
    for (let row = 0; row < z.length; row += E) {
      const exponentials = Array.from({ length: E }, (_, e) => Math.exp(z[row + e]!));
      const total = exponentials.reduce((a, b) => a + b, 0);
      for (const [e, value] of exponentials.entries()) sums[e]! += value / total;
      const ranked = [...exponentials.keys()].sort((a, b) => exponentials[b]! - exponentials[a]! || a - b);
      for (const e of ranked.slice(0, topK)) counts[e]! += 1;
      N++;
    }
  }
  return counts.reduce((loss, count, e) => loss + ((coefficient * E * count) / N) * (sums[e]! / N), 0);
}
