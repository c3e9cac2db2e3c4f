/** The fill function of the reference values: exact float32 numbers in [−1, 1) from an index and a stream. */

/** Value number `index` (row-major position) of a stream. */
export function fillValue(index: number, stream: number): number {
  let x = (index + Math.imul(stream, 0x9e3779b9)) >>> 0;
  x = (x ^ (x >>> 16)) >>> 0;
  x = Math.imul(x, 0x85ebca6b) >>> 0;
  x = (x ^ (x >>> 13)) >>> 0;
  x = Math.imul(x, 0xc2b2ae35) >>> 0;
  x = (x ^ (x >>> 16)) >>> 0;
  return (x >>> 8) * 2 ** -23 - 1;
}

export function fill(size: number, stream: number): Float32Array {
  return Float32Array.from({ length: size }, (_, i) => fillValue(i, stream));
}
