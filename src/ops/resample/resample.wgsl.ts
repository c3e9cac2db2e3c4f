/** Up-sampling and pooling on WebGPU: a thread an element of the result. */
import { params } from "../../device/index.js";
import { flatMain } from "../flat-grid.js";

export const resampleParams = params({ elements: "u32", width: "u32", factor: "u32", scale: "f32" });

const bindings = /* wgsl */ `
${resampleParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;`;

export const spreadKernel = /* wgsl */ `
${bindings}
${flatMain}
  y[i] = p.scale * x[i / p.width / p.factor * (p.width / p.factor) + i % p.width / p.factor];
}`;

export const poolKernel = /* wgsl */ `
${bindings}
${flatMain}
  let wide = p.width * p.factor;
  let first = i / p.width * p.factor * wide + i % p.width * p.factor;
  var sum = 0.0;
  for (var r = 0u; r < p.factor; r++) {
    for (var c = 0u; c < p.factor; c++) { sum += x[first + r * wide + c]; }
  }
  y[i] = p.scale * sum;
}`;
