/** `conv2d` in float64 loops. */
export interface ConvReferenceShapes {
  readonly x: readonly [N: number, C: number, H: number, W: number];
  readonly w: readonly [O: number, C: number, U: number, V: number];
  readonly stride: number;
  readonly padding: number;
}

export function conv2dReference(
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  bias: ArrayLike<number> | undefined,
  shapes: ConvReferenceShapes,
): Float64Array {
  const [N, C, H, W] = shapes.x;
  const [O, , U, V] = shapes.w;
  const { stride, padding } = shapes;
  const outH = Math.floor((H + 2 * padding - U) / stride) + 1;
  const outW = Math.floor((W + 2 * padding - V) / stride) + 1;
  const y = new Float64Array(N * O * outH * outW);
  for (let n = 0; n < N; n++)
    for (let o = 0; o < O; o++)
      for (let i = 0; i < outH; i++)
        for (let j = 0; j < outW; j++) {
          let sum = bias?.[o] ?? 0;
          for (let c = 0; c < C; c++)
            for (let u = 0; u < U; u++)
              for (let v = 0; v < V; v++) {
                const [row, column] = [stride * i + u - padding, stride * j + v - padding];
                if (row < 0 || row >= H || column < 0 || column >= W) continue;
                sum += w[((o * C + c) * U + u) * V + v]! * x[((n * C + c) * H + row) * W + column]!;
              }
          y[((n * O + o) * outH + i) * outW + j] = sum;
        }
  return y;
}
