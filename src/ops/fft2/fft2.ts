/**
 * The two-dimensional Fourier transform of complex images, unitary.
 *
 *   y[k, l] = 1/√(H W) Σ over m, n of x[m, n] · exp(∓2πi (k m / H + l n / W))        − forward, + inverse
 *
 * centred: indices count from the middle, ⌊H / 2⌋ and ⌊W / 2⌋, in x and in y (ifftshift before, fftshift behind).
 *
 * Axes      … images, H × W places, real and imaginary part; row-major. x, y: [..., H, W, 2].
 * Precision float32; twiddles and matrices are computed in float64.
 * How       a power of two: radix 2 along rows, then along columns. Any other size: a product with the matrix of the transform, exact for
 *           every size and fast where products are.
 * Gradient  the transform is unitary: its adjoint is its inverse.
 * Source    Cooley & Tukey 1965, Math. Comp. 19, 297.
 */
import { record, ShapeError, type Tensor, withTape } from "../../tensor/index.js";
import type { FftTables } from "./tables.js";
import { transformColumns, transformRows } from "./transform.js";

export { type FftOptions, type FftTables, fftTables } from "./tables.js";

/** Options of {@link fft2}. */
export interface Fft2Options {
  /** Back from frequencies. Default false. */
  readonly inverse?: boolean;
}

/**
 * @param x f32 [..., H, W, 2].
 * @param tables of the same H and W (`fftTables`); must live as long as a tape that saw the transform.
 * @returns f32, as x.
 * @throws {ShapeError} x has another size than the tables.
 */
export function fft2(x: Tensor, tables: FftTables, { inverse = false }: Fft2Options = {}): Tensor {
  const { height, width } = tables;
  const [H, W, parts] = x.shape.slice(-3);
  if (x.shape.length < 3 || H !== height || W !== width || parts !== 2) {
    throw new ShapeError("fft2", "x", `[..., ${height}, ${width}, 2] (as the tables)`, x.shape);
  }
  if (x.dtype !== "f32") throw new TypeError(`fft2: expected f32, got ${x.dtype}`);
  if (x.device !== tables.device) throw new TypeError("fft2: x and the tables live on different devices");
  // The parts are no business of the tape's: the gradient is one transform.
  const y = withTape(undefined, () => {
    using rows = transformRows(x, tables, inverse);
    return transformColumns(rows, tables, inverse);
  });
  using flat = y;
  const out = flat.reshape(x.shape);
  record(
    "fft2",
    [x],
    [out],
    () =>
      ([dy]) =>
        dy ? [fft2(dy, tables, { inverse: !inverse }).handOver()] : [],
  );
  return out;
}
