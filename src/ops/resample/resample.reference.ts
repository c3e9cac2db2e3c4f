/** `upsampleNearest` and `averagePool` element by element; images are [rows, H, W]. */
export function upsampleReference(
  x: ArrayLike<number>,
  [H, W]: readonly [number, number],
  factor: number,
): Float64Array {
  const images = x.length / (H * W);
  const y = new Float64Array(x.length * factor ** 2);
  for (let n = 0; n < images; n++)
    for (let i = 0; i < H * factor; i++)
      for (let j = 0; j < W * factor; j++)
        y[(n * H * factor + i) * W * factor + j] = x[(n * H + Math.floor(i / factor)) * W + Math.floor(j / factor)]!;
  return y;
}

export function averagePoolReference(
  x: ArrayLike<number>,
  [H, W]: readonly [number, number],
  factor: number,
): Float64Array {
  const images = x.length / (H * W);
  const [h, w] = [H / factor, W / factor];
  const y = new Float64Array(images * h * w);
  for (let n = 0; n < images; n++)
    for (let i = 0; i < H; i++)
      for (let j = 0; j < W; j++)
        y[(n * h + Math.floor(i / factor)) * w + Math.floor(j / factor)]! += x[(n * H + i) * W + j]! / factor ** 2;
  return y;
}
