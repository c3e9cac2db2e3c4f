/** Norm of all gradients on WebGPU: a workgroup sums a block's squares, one workgroup sums the blocks and writes the record. */
import { params, type WebGpuKernel } from "../../device/index.js";
import { findBlock, loadFrom, spanFields } from "./tensor-blocks.js";

const LANES = 64;
const DECIDE_LANES = 256;

/** Tensors of a launch: one binding is for the sums. Above 15 the kernel's text grows and nothing is gained. */
export function squaresTensors(maxStorageBuffers: number): number {
  return Math.min(15, maxStorageBuffers - 1);
}

const schemas = new Map<number, ReturnType<typeof schemaOf>>();

function schemaOf(tensors: number) {
  return params({
    first: "u32",
    blocks: "u32",
    ...spanFields("size", tensors, "u32"),
    ...spanFields("end", tensors, "u32"),
  });
}

export function squaresParams(tensors: number) {
  const schema = schemas.get(tensors) ?? schemaOf(tensors);
  schemas.set(tensors, schema);
  return schema;
}

const kernels = new Map<number, WebGpuKernel>();

export function squaresKernel(tensors: number): WebGpuKernel {
  const found = kernels.get(tensors);
  if (found) return found;
  const bindings = Array.from(
    { length: tensors },
    (_, i) => `@group(0) @binding(${i + 1}) var<storage, read> g${i}: array<f32>;`,
  );
  const kernel: WebGpuKernel = {
    label: `global norm squares of ${tensors}`,
    code: /* wgsl */ `
${squaresParams(tensors).wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${bindings.join("\n")}
@group(0) @binding(${tensors + 1}) var<storage, read_write> partial: array<f32>;
var<workgroup> sums: array<f32, ${LANES}>;
${findBlock(tensors)}
${loadFrom("load", "g", tensors)}
@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = group.y * groups.x + group.x;
  let block = findBlock(index);
  var sum = 0.0;
  for (var i = block.first + lane; i < block.last; i += ${LANES}u) {
    let g = load(block.which, i);
    sum += g * g;
  }
  sums[lane] = sum;
  workgroupBarrier();
  for (var half = ${LANES / 2}u; half > 0u; half /= 2u) {
    if (lane < half) { sums[lane] += sums[lane + half]; }
    workgroupBarrier();
  }
  if (lane == 0u && index < p.blocks) { partial[p.first + index] = sums[0]; }
}`,
  };
  kernels.set(tensors, kernel);
  return kernel;
}

export const decideParams = params({
  blocks: "u32",
  growthSteps: "u32",
  isLatched: "u32",
  maxNorm: "f32",
  keep1: "f32",
  add1: "f32",
  keep2: "f32",
  add2: "f32",
});

export const decideKernel: WebGpuKernel = {
  label: "global norm decide",
  code: /* wgsl */ `
${decideParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> record: array<f32>;
var<workgroup> sums: array<f32, ${DECIDE_LANES}>;
// Not a comparison of floats: compilers may take it for granted that there is no infinity and no NaN.
fn isFiniteNumber(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }
@compute @workgroup_size(${DECIDE_LANES})
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  for (var i = lane; i < p.blocks; i += ${DECIDE_LANES}u) { sum += partial[i]; }
  sums[lane] = sum;
  workgroupBarrier();
  for (var half = ${DECIDE_LANES / 2}u; half > 0u; half /= 2u) {
    if (lane < half) { sums[lane] += sums[lane + half]; }
    workgroupBarrier();
  }
  if (lane > 0u) { return; }
  let total = sums[0];
  let scale = record[3];
  if (isFiniteNumber(total) && (p.isLatched == 0u || record[8] == 0.0)) {
    let norm = sqrt(total) / scale;
    record[0] = norm;
    record[1] = select(1.0, p.maxNorm / norm, norm > p.maxNorm) / scale;
    record[2] = 1.0;
    record[4] += 1.0;
    record[5] += 1.0;
    record[6] = p.keep1 * record[6] + p.add1;
    record[7] = p.keep2 * record[7] + p.add2;
    if (p.growthSteps > 0u && record[4] >= f32(p.growthSteps)) {
      record[3] = scale * 2.0;
      record[4] = 0.0;
    }
  } else {
    record[0] = total;
    record[1] = 0.0;
    record[2] = 0.0;
    record[4] = 0.0;
    record[8] += 1.0;
    if (p.growthSteps > 0u) { record[3] = scale * 0.5; }
  }
}`,
};

export function globalNormVariants(): WebGpuKernel[] {
  return [...[8, 10, 16].map((buffers) => squaresKernel(squaresTensors(buffers))), decideKernel];
}
