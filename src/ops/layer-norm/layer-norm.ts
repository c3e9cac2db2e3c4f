/**
 * Layer normalisation over the last axis.
 *
 *   y[t, c] = (x[t, c] − mean) / sqrt(variance + eps) · weight[c] + bias[c]
 *
 * with mean and (biased) variance over the channels of row t.
 *
 * Axes      T rows (any number of axes), C channels; row-major. x, y: [T, C]; weight, bias: [C].
 * Precision float32; the variance is that of x − mean.
 * Source    Ba, Kiros & Hinton 2016, arXiv 1607.06450.
 * Kernels   those of group-norm: one group, one place.
 */
import { ShapeError, type Tensor } from "../../tensor/index.js";
import { normalised } from "../group-norm/group-norm.js";

/** @param x f32 [T, C]. @param weight f32 [C]. @param bias f32 [C]. @throws {ShapeError} */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, { eps }: { readonly eps: number }): Tensor {
  const C = x.shape.at(-1);
  if (C === undefined || x.size < 1) throw new ShapeError("layerNorm", "x", "[T ≥ 1, C ≥ 1]", x.shape);
  return normalised("layerNorm", x, weight, bias, { rows: x.size / C, groups: 1, channels: C, places: 1 }, eps);
}
