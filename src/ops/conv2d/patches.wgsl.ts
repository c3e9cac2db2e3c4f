/** Patches of images on WebGPU: a thread an element of the result. */
import { params } from "../../device/index.js";
import { flatMain } from "../flat-grid.js";

export const patchesParams = params({
  elements: "u32",
  channels: "u32",
  height: "u32",
  width: "u32",
  kernelHeight: "u32",
  kernelWidth: "u32",
  /** Of the convolution. */
  step: "u32",
  padding: "u32",
  outHeight: "u32",
  outWidth: "u32",
  /** Patch of all images. */
  first: "u32",
  /** Patches. */
  count: "u32",
  /** Of the result's rows. */
  stride: "u32",
});

const bindings = /* wgsl */ `
${patchesParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;`;

const pixel = /* wgsl */ `
// Number k of patch n: zero outside of the image. (Unsigned numbers below zero are large.)
fn pixel(n: u32, k: u32) -> f32 {
  let v = k % p.kernelWidth;
  let u = k / p.kernelWidth % p.kernelHeight;
  let c = k / (p.kernelWidth * p.kernelHeight);
  let column = n % p.outWidth * p.step + v - p.padding;
  let row = n / p.outWidth % p.outHeight * p.step + u - p.padding;
  let image = n / (p.outWidth * p.outHeight);
  if (row >= p.height || column >= p.width) { return 0.0; }
  return x[((image * p.channels + c) * p.height + row) * p.width + column];
}`;

export const patchRowsKernel = /* wgsl */ `
${bindings}
${pixel}
${flatMain}
  y[i] = pixel(p.first + i / p.stride, i % p.stride);
}`;

export const patchColumnsKernel = /* wgsl */ `
${bindings}
${pixel}
${flatMain}
  let n = i % p.stride;
  if (n >= p.count) {
    y[i] = 0.0;
    return;
  }
  y[i] = pixel(p.first + n, i / p.stride);
}`;

// x: gradients of patches [count, C · U · V]; y: of images.
export const gatherKernel = /* wgsl */ `
${bindings}
${flatMain}
  let column = i % p.width + p.padding;
  let row = i / p.width % p.height + p.padding;
  let c = i / (p.width * p.height) % p.channels;
  let places = p.outHeight * p.outWidth;
  let image = i / (p.width * p.height * p.channels) + p.first / places;
  let size = p.kernelHeight * p.kernelWidth;
  var sum = 0.0;
  for (var u = 0u; u < p.kernelHeight; u++) {
    // Unsigned numbers below zero are large, and no multiple leads to them.
    if (row < u || (row - u) % p.step != 0u || (row - u) / p.step >= p.outHeight) { continue; }
    for (var v = 0u; v < p.kernelWidth; v++) {
      if (column < v || (column - v) % p.step != 0u || (column - v) / p.step >= p.outWidth) { continue; }
      let place = (image * p.outHeight + (row - u) / p.step) * p.outWidth + (column - v) / p.step;
      if (place < p.first || place - p.first >= p.count) { continue; }
      sum += x[((place - p.first) * p.channels + c) * size + u * p.kernelWidth + v];
    }
  }
  let at = p.first / places * p.channels * p.height * p.width + i;
  if (p.first % places != 0u) { sum += y[at]; }
  y[at] = sum;
}`;
