/**
 * Two-dimensional convolution (cross-correlation, as neural networks call it) of images.
 *
 *   y[n, o, i, j] = bias[o] + Σ over c, u, v of w[o, c, u, v] · x[n, c, stride · i + u − padding, stride · j + v − padding]
 *
 * with zeros outside of x.
 *
 * Axes      N images, C input and O output channels, H × W and H' × W' places, U × V kernel; row-major.
 *           x: [N, C, H, W]; w: [O, C, U, V]; bias: [O]; y: [N, O, H', W'], H' = ⌊(H + 2 padding − U) / stride⌋ + 1.
 * Precision float32, sums in float32.
 * How       the images' patches are written out as rows of a matrix, and the product with the weights does the rest: it is the
 *           fastest kernel there is. 64 MiB of patches at a time, so that memory stays bounded. A 1 × 1 kernel has the pixels themselves as
 *           patches.
 */
import { activeTape, empty, record, ShapeError, sameShape, type Tensor, withTape } from "../../tensor/index.js";
import { matmul } from "../matmul/matmul.js";
import { launchSwapAxes } from "../swap-axes/swap-axes.js";
import { conv2dBackward, paddedRows, placed } from "./conv2d.gradient.js";
import { type ConvLayout, patches, patchRanges } from "./patches.js";

/** Options of {@link conv2d}. */
export interface Conv2dOptions {
  /** Default 1. */
  readonly stride?: number;
  /** Zeros on each side. Default 0. */
  readonly padding?: number;
  /** f32 [O]. */
  readonly bias?: Tensor | undefined;
  /** Memory for patches. Default 64 MiB. */
  readonly patchBytes?: number;
}

/**
 * @param x f32 [N, C, H, W]. @param w f32 [O, C, U, V].
 * @returns f32 [N, O, H', W'].
 * @throws {ShapeError} a shape does not fit, or the kernel is larger than the padded image.
 *
 * Cost: 2·N·O·H'·W'·C·U·V FLOPs; writes and reads the patches, U·V / stride² times x.
 */
export function conv2d(x: Tensor, w: Tensor, options: Conv2dOptions = {}): Tensor {
  const { bias } = options;
  const layout = layoutOf(x, w, options);
  const { images, outputs, outHeight, outWidth, depth } = layout;
  const y = empty(x.device, [images, outputs, outHeight, outWidth], "f32", "conv2d");
  // The parts are no business of the tape's: the patches would stay in memory.
  withTape(undefined, () => {
    using flat = w.reshape([outputs, depth]);
    using weights = paddedRows(flat);
    for (const range of patchRanges(layout, options.patchBytes)) {
      using rows = patches(x, layout, range);
      using product = matmul(rows, weights, bias ? { bias } : {});
      launchSwapAxes(product, y, placed(layout, range).result);
    }
  });
  if (activeTape())
    record("conv2d", bias ? [x, w, bias] : [x, w], [y], conv2dBackward(x, w, layout, options.patchBytes));
  return y;
}

function layoutOf(x: Tensor, w: Tensor, { stride = 1, padding = 0, bias }: Conv2dOptions): ConvLayout {
  const [N, C, H, W] = x.shape;
  const [O, wC, U, V] = w.shape;
  if (N === undefined || C === undefined || H === undefined || W === undefined || x.shape.length !== 4) {
    throw new ShapeError("conv2d", "x", "[N, C, H, W]", x.shape);
  }
  if (O === undefined || U === undefined || V === undefined || w.shape.length !== 4 || wC !== C) {
    throw new ShapeError("conv2d", "w", `[O, C=${C}, U, V] (as x)`, w.shape);
  }
  for (const [name, value, least] of [
    ["stride", stride, 1],
    ["padding", padding, 0],
  ] as const) {
    if (!Number.isInteger(value) || value < least) {
      throw new RangeError(`conv2d: ${name} expected a whole number of ${least} or more, got ${value}.`);
    }
  }
  if (bias && !sameShape(bias.shape, [O])) throw new ShapeError("conv2d", "bias", `[O=${O}] (as w)`, bias.shape);
  const outHeight = Math.floor((H + 2 * padding - U) / stride) + 1;
  const outWidth = Math.floor((W + 2 * padding - V) / stride) + 1;
  if (outHeight < 1 || outWidth < 1) {
    throw new ShapeError("conv2d", "x", `at least [${U}, ${V}] places with padding ${padding}`, x.shape);
  }
  for (const tensor of bias ? [x, w, bias] : [x, w]) {
    if (tensor.dtype !== "f32") throw new TypeError(`conv2d: expected f32 tensors, got ${tensor.dtype}`);
    if (tensor.device !== x.device) throw new TypeError("conv2d: the tensors live on different devices");
  }
  return {
    images: N,
    channels: C,
    height: H,
    width: W,
    outputs: O,
    kernelHeight: U,
    kernelWidth: V,
    stride,
    padding,
    outHeight,
    outWidth,
    depth: C * U * V,
  };
}
