/** `swapAxes` element by element. */
export function swapAxesReference(x: ArrayLike<number>, [a, b, c, u]: readonly number[]): Float64Array {
  const [A, B, C, U] = [a!, b!, c!, u!];
  const y = new Float64Array(x.length);
  for (let i = 0; i < A; i++)
    for (let j = 0; j < B; j++)
      for (let k = 0; k < C; k++)
        for (let l = 0; l < U; l++) y[((i * C + k) * B + j) * U + l] = x[((i * B + j) * C + k) * U + l]!;
  return y;
}
