/**
 * RMS normalisation over the last axis.
 *
 *   y[t, c] = x[t, c] / sqrt(mean over c of x[t, c]² + eps) · weight[c]
 *
 * Axes      T tokens, C channels; row-major. x, y: [T, C]; weight: [C].
 * Precision float32, sums included; the reference sums in float64.
 * Source    Zhang & Sennrich 2019, arXiv 1910.07467.
 */
import { empty, record, ShapeError, sameShape, type Tensor } from "../../tensor/index.js";
import { rmsNormBackward } from "./rms-norm.gradient.js";
import { launchRmsNormCpu } from "./rms-norm.launch-cpu.js";
import { launchRmsNormWebGpu } from "./rms-norm.launch-webgpu.js";

/** A norm that another operation applies to its input. */
export interface RowNorm {
  /** f32 [C]. */
  readonly weight: Tensor;
  readonly eps: number;
}

/**
 * @param x f32 [T, C].
 * @param weight f32 [C].
 * @param options.eps is added to the mean square: rms_norm_eps of the checkpoint.
 * @returns f32 [T, C].
 * @throws {ShapeError} the weight does not fit x.
 *
 * Cost: 4·T·C FLOPs; reads x once (twice where a row exceeds the cache), writes y.
 */
export function rmsNorm(x: Tensor, weight: Tensor, options: { readonly eps: number }): Tensor {
  const [T, C] = x.shape;
  if (T === undefined || C === undefined || x.shape.length !== 2 || T < 1 || C < 1) {
    throw new ShapeError("rmsNorm", "x", "[T ≥ 1, C ≥ 1]", x.shape);
  }
  if (!sameShape(weight.shape, [C])) throw new ShapeError("rmsNorm", "weight", `[C=${C}] (as x)`, weight.shape);
  if (x.dtype !== "f32" || weight.dtype !== "f32") {
    throw new TypeError(`rmsNorm: expected f32 tensors, got x ${x.dtype}, weight ${weight.dtype}`);
  }
  if (x.device !== weight.device) throw new TypeError("rmsNorm: x and the weight live on different devices");
  const { device } = x;
  const y = empty(device, [T, C], "f32", "rms-norm");
  if (device.kind === "cpu") launchRmsNormCpu(device, x, weight, y, options.eps);
  else launchRmsNormWebGpu(device, x, weight, y, options.eps);
  record("rmsNorm", [x, weight], [y], rmsNormBackward(x, weight, options.eps));
  return y;
}
