/**
 * The random number of a draw: a hash of the sequence's seed and the position that the drawn token gets, nothing else. So a
 * sequence's text does not depend on its batch, on captured replay or on the device: the kernels compute the same integers.
 *
 *   u = mix(mix(seed + 0x9E3779B9) xor mix(position + 0x85EBCA6B)) >> 8, in units of 2⁻²⁴
 *
 * Source    mix is the finaliser of MurmurHash3 (Appleby, public domain). Both inputs are mixed first, so that neighbouring
 *           seeds do not give shifted copies of one stream.
 */

/** A uniform number in [0, 1) with 24 bits, exact in float32. */
export function uniformAt(seed: number, position: number): number {
  return (mix(mix(seed + 0x9e3779b9) ^ mix(position + 0x85ebca6b)) >>> 8) / 2 ** 24;
}

function mix(x: number): number {
  let h = x | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
