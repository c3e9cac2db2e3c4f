/**
 * Group normalisation of images.
 *
 *   y[n, c, s] = (x[n, c, s] − mean) / sqrt(variance + eps) · weight[c] + bias[c]
 *
 * with mean and (biased) variance over the C / groups channels of c's group and all S places of image n.
 *
 * Axes      N images, C channels, S places (any number of axes); row-major. x, y: [N, C, …]; weight, bias: [C].
 * Precision float32; the variance is that of x − mean, so that large means lose no digits.
 * Source    Wu & He 2018, arXiv 1803.08494.
 */
import { empty, record, ShapeError, sameShape, sizeOf, type Tensor } from "../../tensor/index.js";
import { groupNormBackward } from "./group-norm.gradient.js";
import { launchGroupNorm, type NormLayout } from "./group-norm.launch.js";

/** Options of {@link groupNorm}. */
export interface GroupNormOptions {
  readonly groups: number;
  /** Is added to the variance. */
  readonly eps: number;
}

/**
 * @param x f32 [N, C, …]. @param weight f32 [C]. @param bias f32 [C].
 * @throws {ShapeError} the groups do not divide C, or the weights do not fit x.
 */
export function groupNorm(x: Tensor, weight: Tensor, bias: Tensor, { groups, eps }: GroupNormOptions): Tensor {
  const [N, C] = x.shape;
  if (N === undefined || C === undefined || x.size < 1) throw new ShapeError("groupNorm", "x", "[N, C, …]", x.shape);
  if (!Number.isInteger(groups) || groups < 1 || C % groups !== 0) {
    throw new ShapeError("groupNorm", "x", `[N, a multiple of groups = ${groups}, …]`, x.shape);
  }
  const layout = { rows: N * groups, groups, channels: C / groups, places: sizeOf(x.shape.slice(2)) };
  return normalised("groupNorm", x, weight, bias, layout, eps);
}

/** What group and layer normalisation share: rows with a mean and a variance, and a weight and a bias a channel. */
export function normalised(
  where: string,
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
  layout: NormLayout,
  eps: number,
): Tensor {
  const C = layout.groups * layout.channels;
  for (const [name, tensor] of [
    ["weight", weight],
    ["bias", bias],
  ] as const) {
    if (!sameShape(tensor.shape, [C])) throw new ShapeError(where, name, `[C=${C}] (as x)`, tensor.shape);
    if (tensor.dtype !== "f32" || x.dtype !== "f32") {
      throw new TypeError(`${where}: expected f32 tensors, got x ${x.dtype}, ${name} ${tensor.dtype}`);
    }
    if (tensor.device !== x.device) throw new TypeError(`${where}: x and the ${name} live on different devices`);
  }
  const y = empty(x.device, x.shape, "f32", where);
  launchGroupNorm(x, weight, bias, y, layout, eps);
  record(where, [x, weight, bias], [y], groupNormBackward(x, weight, layout, eps));
  return y;
}
