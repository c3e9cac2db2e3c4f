/** Sums over an axis on WebGPU, and repetition along one: a thread an element of the result. */
import { params } from "../../device/index.js";
import { flatMain } from "../flat-grid.js";

export const sumParams = params({ elements: "u32", total: "u32", width: "u32", scale: "f32" });

// Neighbouring threads read neighbouring numbers, whatever the axis.
export const sumKernel = /* wgsl */ `
${sumParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;         // [A, total]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;   // [A, width]
${flatMain}
  let first = i / p.width * p.total;
  var sum = 0.0;
  for (var at = i % p.width; at < p.total; at += p.width) { sum += x[first + at]; }
  y[i] = p.scale * sum;
}`;

export const repeatParams = params({ elements: "u32", b: "u32", count: "u32", scale: "f32" });

export const repeatKernel = /* wgsl */ `
${repeatParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;         // [A, B]
@group(0) @binding(2) var<storage, read_write> x: array<f32>;   // [A, count, B]
${flatMain}
  x[i] = p.scale * y[i / (p.b * p.count) * p.b + i % p.b];
}`;
