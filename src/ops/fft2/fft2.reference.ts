/** `fft2` by its sums in float64, one axis after the other. Images are [images, H, W, 2]. */
export function fft2Reference(
  x: ArrayLike<number>,
  { height, width, centred = false }: { readonly height: number; readonly width: number; readonly centred?: boolean },
  inverse = false,
): Float64Array {
  const images = x.length / (2 * height * width);
  const rows = lines(x, width, images * height, 1, width, 1);
  return lines(rows, height, images * width, width, height * width, width);

  /** Line l has number n at ⌊l / inner⌋ · outer + l mod inner + n · step. */
  function lines(
    from: ArrayLike<number>,
    N: number,
    count: number,
    inner: number,
    outer: number,
    step: number,
  ): Float64Array {
    const to = new Float64Array(from.length);
    const middle = centred ? Math.floor(N / 2) : 0;
    for (let l = 0; l < count; l++) {
      const first = Math.floor(l / inner) * outer + (l % inner);
      for (let k = 0; k < N; k++) {
        let [real, imaginary] = [0, 0];
        for (let n = 0; n < N; n++) {
          const angle = ((inverse ? 2 : -2) * Math.PI * (k - middle) * (n - middle)) / N;
          const at = 2 * (first + n * step);
          real += Math.cos(angle) * from[at]! - Math.sin(angle) * from[at + 1]!;
          imaginary += Math.sin(angle) * from[at]! + Math.cos(angle) * from[at + 1]!;
        }
        to[2 * (first + k * step)] = real / Math.sqrt(N);
        to[2 * (first + k * step) + 1] = imaginary / Math.sqrt(N);
      }
    }
    return to;
  }
}
