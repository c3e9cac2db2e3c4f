/** Two axes change places on WebGPU: a thread an element of the result. */
import { params } from "../../device/index.js";
import { flatMain } from "../flat-grid.js";

export const swapAxesParams = params({
  elements: "u32",
  b: "u32",
  c: "u32",
  u: "u32",
  xOffset: "u32",
  yOffset: "u32",
  xRow: "u32",
  yRow: "u32",
});

export const swapAxesKernel = /* wgsl */ `
${swapAxesParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;         // [A, B, C, U]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;   // [A, C, B, U]
${flatMain}
  let u = i % p.u;
  let b = i / p.u % p.b;
  let c = i / (p.u * p.b) % p.c;
  let a = i / (p.u * p.b * p.c);
  y[p.yOffset + (a * p.c + c) * p.yRow + b * p.u + u] = x[p.xOffset + (a * p.b + b) * p.xRow + c * p.u + u];
}`;
