/** `rmsNorm` in float64 loops. */
export function rmsNormReference(
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  { eps }: { readonly eps: number },
): Float64Array {
  const C = weight.length;
  const y = new Float64Array(x.length);
  for (let row = 0; row < x.length; row += C) {
    let sum = 0;
    for (let c = 0; c < C; c++) sum += x[row + c]! ** 2;
    const scale = 1 / Math.sqrt(sum / C + eps);
    for (let c = 0; c < C; c++) y[row + c] = x[row + c]! * scale * weight[c]!;
  }
  return y;
}
