/** AdamW on WebGPU: a workgroup updates a block of one of the launch's tensors. */
import { params, type WebGpuKernel } from "../../device/index.js";
import { findBlock, loadFrom, spanFields, storeTo } from "../global-norm/tensor-blocks.js";

const LANES = 128;

/** Tensors of a launch: two bindings each, and two for moments and record. */
export function adamwTensors(maxStorageBuffers: number): number {
  return Math.min(8, Math.floor((maxStorageBuffers - 2) / 2));
}

function schemaOf(tensors: number) {
  return params({
    keep1: "f32",
    add1: "f32",
    keep2: "f32",
    add2: "f32",
    eps: "f32",
    emaAdd: "f32",
    stride: "u32",
    ...spanFields("size", tensors, "u32"),
    ...spanFields("end", tensors, "u32"),
    ...spanFields("offset", tensors, "u32"),
    ...spanFields("rate", tensors, "f32"),
    ...spanFields("loss", tensors, "f32"),
  });
}

const schemas = new Map<number, ReturnType<typeof schemaOf>>();

export function adamwParams(tensors: number) {
  const schema = schemas.get(tensors) ?? schemaOf(tensors);
  schemas.set(tensors, schema);
  return schema;
}

const kernels = new Map<string, WebGpuKernel>();

export function adamwKernel(tensors: number, hasAverage: boolean): WebGpuKernel {
  const key = `${tensors} ${hasAverage}`;
  const found = kernels.get(key);
  if (found) return found;
  const numbers = Array.from({ length: tensors }, (_, i) => i);
  const bindings = numbers.map(
    (i) => `@group(0) @binding(${2 * i + 1}) var<storage, read_write> p${i}: array<f32>;
@group(0) @binding(${2 * i + 2}) var<storage, read> g${i}: array<f32>;`,
  );
  const cases = (name: string) =>
    numbers
      .slice(1)
      .map((i) => `case ${i}u: { return p.${name}${i}; }`)
      .join(" ");
  const pick = (name: string, type: string) =>
    `fn ${name}Of(which: u32) -> ${type} { switch which { ${cases(name)} default: { return p.${name}0; } } }`;
  const kernel: WebGpuKernel = {
    label: `adamw of ${tensors}${hasAverage ? " with average" : ""}`,
    code: /* wgsl */ `
${adamwParams(tensors).wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${bindings.join("\n")}
@group(0) @binding(${2 * tensors + 1}) var<storage, read_write> moments: array<f32>;  // rows of p.stride
@group(0) @binding(${2 * tensors + 2}) var<storage, read> record: array<f32>;
${findBlock(tensors)}
${loadFrom("parameter", "p", tensors)}
${loadFrom("gradient", "g", tensors)}
${storeTo("store", "p", tensors)}
${pick("offset", "u32")}
${pick("rate", "f32")}
${pick("loss", "f32")}
@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (record[2] == 0.0) { return; }
  let block = findBlock(group.y * groups.x + group.x);
  let factor = record[1];
  let rate = rateOf(block.which) / record[6];
  let root = 1.0 / sqrt(record[7]);
  let loss = lossOf(block.which);
  let offset = offsetOf(block.which);
  for (var i = block.first + lane; i < block.last; i += ${LANES}u) {
    let g = factor * gradient(block.which, i);
    let at = offset + i;
    let m = p.keep1 * moments[at] + p.add1 * g;
    // √(a² + b²) without squares that overflow or vanish.
    let a = p.keep2 * moments[p.stride + at];
    let b = p.add2 * abs(g);
    let high = max(a, b);
    let ratio = min(a, b) / select(high, 1.0, high == 0.0);
    let s = high * sqrt(1.0 + ratio * ratio);
    moments[at] = m;
    moments[p.stride + at] = s;
    let before = parameter(block.which, i);
    let after = before - (rate * (m / (s * root + p.eps)) + loss * before);
    store(block.which, i, after);
    ${
      hasAverage
        ? `let average = moments[2u * p.stride + at];
    moments[2u * p.stride + at] = average + p.emaAdd * (after - average);`
        : ""
    }
  }
}`,
  };
  kernels.set(key, kernel);
  return kernel;
}

export function adamwVariants(): WebGpuKernel[] {
  const most = adamwTensors(Number.POSITIVE_INFINITY);
  return Array.from({ length: most }, (_, i) => i + 1).flatMap((tensors) =>
    [false, true].map((hasAverage) => adamwKernel(tensors, hasAverage)),
  );
}
