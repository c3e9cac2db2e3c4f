/**
 * Numbers that every language can make again: the fill function of the stored goldens, an integer hash with values in
 * [−1, 1) that float32 holds exactly.
 */

/** The value at `index` (row-major position) of stream `stream`. */
export function fillValue(index: number, stream: number): number {
  let x = (index + Math.imul(stream, 0x9e3779b9)) >>> 0;
  x ^= x >>> 16;
  x = Math.imul(x, 0x85ebca6b);
  x ^= x >>> 13;
  x = Math.imul(x, 0xc2b2ae35);
  x ^= x >>> 16;
  return (x >>> 8) * 2 ** -23 - 1;
}

/** The first `count` values of a stream. */
export function fill(count: number, stream: number): Float32Array {
  return Float32Array.from({ length: count }, (_, index) => fillValue(index, stream));
}
