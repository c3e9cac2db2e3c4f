/** What the kinds of caches cost. */

const bits: Readonly<Record<string, number>> = { f32: 32, f16: 16, bf16: 16 };

/** Bits of a cached key or value component, scales included; undefined: not known for this kind. */
export function cacheBits(kv: string): number | undefined {
  return bits[kv];
}
