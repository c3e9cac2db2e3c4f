/** The embedding look-up in float64. */

/**
 * @param table [V, K], decoded.
 * @returns [ids, K].
 */
export function embeddingReference(ids: readonly number[], table: Float64Array, K: number): Float64Array {
  const V = table.length / K;
  const out = new Float64Array(ids.length * K);
  for (const [t, id] of ids.entries()) {
    if (id >= 0 && id < V) out.set(table.subarray(id * K, (id + 1) * K), t * K);
  }
  return out;
}
