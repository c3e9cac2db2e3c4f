/**
 * Copy and fill, as kernels: `copyBufferToBuffer` reaches a quarter of the memory's speed on an H100, and it cannot join a
 * compute pass.
 *
 * One thread an element (a word or four). Offsets and counts are in elements, counted from the bound ranges.
 */
import type { WebGpuKernel } from "./kernel.js";
import { params } from "./params.js";

export type MoveElement = "u32" | "vec4u";

export const moveWorkgroup = 256;

export const copyParams = params({ count: "u32", width: "u32", sourceAt: "u32", sinkAt: "u32" });

const index = `let i = (group.y * p.width + group.x) * ${moveWorkgroup}u + lane;`;
const entry = `@compute @workgroup_size(${moveWorkgroup})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32)`;

/** `isSame`: both ranges lie in one buffer, which WebGPU binds once. */
export function copyKernel(element: MoveElement, isSame: boolean): WebGpuKernel {
  const bindings = isSame
    ? `@group(0) @binding(1) var<storage, read_write> both: array<${element}>;`
    : `@group(0) @binding(1) var<storage, read> source: array<${element}>;
@group(0) @binding(2) var<storage, read_write> sink: array<${element}>;`;
  const move = isSame ? "both[p.sinkAt + i] = both[p.sourceAt + i];" : "sink[p.sinkAt + i] = source[p.sourceAt + i];";
  return {
    label: `copy ${element}${isSame ? " in place" : ""}`,
    code: /* wgsl */ `
${copyParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${bindings}
${entry} {
  ${index}
  if (i < p.count) { ${move} }
}`,
  };
}

export const clearParams = params({ count: "u32", width: "u32", sinkAt: "u32" });

export function clearKernel(element: MoveElement): WebGpuKernel {
  return {
    label: `clear ${element}`,
    code: /* wgsl */ `
${clearParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> sink: array<${element}>;
${entry} {
  ${index}
  if (i < p.count) { sink[p.sinkAt + i] = ${element}(); }
}`,
  };
}
