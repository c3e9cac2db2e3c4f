/** `groupNorm` in float64 loops; a layer norm is one of one group and one place. */
export function groupNormReference(
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  bias: ArrayLike<number>,
  { groups, places, eps }: { readonly groups: number; readonly places: number; readonly eps: number },
): Float64Array {
  const channels = weight.length / groups;
  const length = channels * places;
  const y = new Float64Array(x.length);
  for (let row = 0, r = 0; row < x.length; row += length, r++) {
    let mean = 0;
    for (let i = 0; i < length; i++) mean += x[row + i]! / length;
    let variance = 0;
    for (let i = 0; i < length; i++) variance += (x[row + i]! - mean) ** 2 / length;
    for (let i = 0; i < length; i++) {
      const c = (r % groups) * channels + Math.floor(i / places);
      y[row + i] = ((x[row + i]! - mean) / Math.sqrt(variance + eps)) * weight[c]! + bias[c]!;
    }
  }
  return y;
}
