/**
 * Attention's result gets the mean back that was taken off every value: probabilities sum to one.
 *
 *   out[t, h, c] += v̄[g, c],   g = ⌊h · G / H⌋            (a dead token's result stays zero)
 *
 * Axes  T tokens, H query heads, G key/value heads, D head size; v̄: f32 [G, D]; out: [T, H·D], in place.
 */
import type { WebGpuKernel } from "../../device/webgpu/kernel.js";
import { params } from "../../device/webgpu/params.js";
import type { Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";

const meanParams = params({ size: "u32", columns: "u32", width: "u32", headDim: "u32", perGroup: "u32" });

const WORKGROUP = 256;

export const addMeanKernel: WebGpuKernel = {
  label: "packed attention add mean",
  code: /* wgsl */ `
${meanParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;       // [T, H, D]
@group(0) @binding(2) var<storage, read> mean: array<f32>;            // [G, D]
@group(0) @binding(3) var<storage, read> tokens: array<vec4i>;        // id, position, row, slot

@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x + id.y * p.width;
  if (i >= p.size || tokens[i / p.columns].w < 0) { return; }
  let column = i % p.columns;
  out[i] += mean[column / p.headDim / p.perGroup * p.headDim + column % p.headDim];
}`,
};

export function addMean(out: Tensor, mean: Tensor, heads: number, step: Step): void {
  const { device } = out;
  const [kvHeads = 1, headDim = 0] = mean.shape;
  const columns = heads * headDim;
  const perGroup = heads / kvHeads;
  const cost = { bytes: 2 * out.byteLength, operations: out.size };
  if (device.kind === "cpu") {
    device.run("packedAddMean", {
      arguments: [out, mean, step.tokens, heads, headDim, perGroup],
      tasks: step.tokenCount,
      cost,
    });
    return;
  }
  const groups = Math.ceil(out.size / WORKGROUP);
  const across = Math.min(groups, 65_535);
  device.run(addMeanKernel, {
    buffers: [out, mean, step.tokens],
    params: meanParams.write({ size: out.size, columns, width: across * WORKGROUP, headDim, perGroup }),
    grid: [across, Math.ceil(groups / across)],
    cost,
  });
}
