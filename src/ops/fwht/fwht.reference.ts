/** The Hadamard transform by its definition, in float64, and in float32 with the order of operations that the kernels keep. */

/** Blocks of `width` over the whole array: y[i] = Σ_j (−1)^popcount(i & j) x[j] / √width. */
export function fwhtReference(x: ArrayLike<number>, width: number): Float64Array {
  const y = new Float64Array(x.length);
  for (let i = 0; i < x.length; i += 1) {
    const block = i - (i % width);
    for (let j = 0; j < width; j += 1) {
      y[i] = y[i]! + (isOdd((i % width) & j) ? -1 : 1) * x[block + j]!;
    }
    y[i] = y[i]! / Math.sqrt(width);
  }
  return y;
}

function isOdd(bits: number): boolean {
  let parity = 0;
  for (let rest = bits; rest > 0; rest >>= 1) parity ^= rest & 1;
  return parity === 1;
}

/** One rounding to float32 an operation: the bits of both devices. */
export function fwhtFloat32(x: Float32Array, width: number): Float32Array {
  for (let h = 1; h < width; h *= 2) {
    for (let j = 0; j < x.length; j += 1) {
      if (j & h) continue;
      const [a, b] = [x[j]!, x[j + h]!];
      x[j] = a + b;
      x[j + h] = a - b;
    }
  }
  const scale = Math.fround(1 / Math.sqrt(width));
  return x.map((v) => v * scale);
}
