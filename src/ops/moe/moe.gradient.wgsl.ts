/**
 * The gradient of the weighted sum of experts on WebGPU. A thread makes one number of a result and owns its sum, but for the
 * pass "inner": a workgroup a pair, which adds up the gradient of the pair's weight.
 */
import { params, type WebGpuKernel } from "../../device/index.js";

export type ExpertPass = "lists" | "hidden" | "inner" | "inputs" | "gateUps" | "downs";

export const expertParams = params({
  T: "u32",
  H: "u32",
  I: "u32",
  E: "u32",
  topK: "u32",
  strideH: "u32",
  strideI: "u32",
});

interface Pass {
  readonly buffers: readonly string[];
  readonly body: string;
}

const read = (name: string, type = "f32") => `var<storage, read> ${name}: array<${type}>;`;
const write = (name: string, type = "f32") => `var<storage, read_write> ${name}: array<${type}>;`;

const passes: Readonly<Record<ExpertPass, Pass>> = {
  // A thread an expert: how many pairs go to experts before it, then its own in order.
  lists: {
    buffers: [read("experts", "i32"), write("starts", "i32"), write("lists", "i32")],
    body: `
  let e = i32(index);
  if (index >= p.E) { return; }
  let pairs = p.T * p.topK;
  var at = 0u;
  for (var i = 0u; i < pairs; i++) { at += u32(experts[i] < e); }
  starts[index] = i32(at);
  if (index == 0u) { starts[p.E] = i32(pairs); }
  for (var i = 0u; i < pairs; i++) {
    if (experts[i] == e) {
      lists[at] = i32(i);
      at++;
    }
  }`,
  },
  hidden: {
    buffers: [read("x"), read("experts", "i32"), read("gateUp"), write("hidden")],
    body: `
  let pair = index / (2u * p.I);
  if (pair >= p.T * p.topK) { return; }
  let row = (u32(experts[pair]) * 2u * p.I + index % (2u * p.I)) * p.strideH;
  let token = pair / p.topK * p.H;
  var sum = 0.0;
  for (var c = 0u; c < p.H; c++) { sum += x[token + c] * gateUp[row + c]; }
  hidden[index] = sum;`,
  },
  inner: {
    buffers: [
      read("dy"),
      read("experts", "i32"),
      read("weights"),
      read("down"),
      read("hidden"),
      write("inner"),
      write("dHidden"),
      write("dWeights"),
    ],
    body: `
  let pair = group.y * groups.x + group.x;
  if (pair >= p.T * p.topK) { return; }
  let rows = u32(experts[pair]) * p.H * p.strideI;
  let token = pair / p.topK * p.H;
  var mine = 0.0;
  for (var i = lane; i < p.I; i += 64u) {
    var dA = 0.0;
    for (var c = 0u; c < p.H; c++) { dA += dy[token + c] * down[rows + c * p.strideI + i]; }
    let gate = hidden[pair * 2u * p.I + i];
    let up = hidden[pair * 2u * p.I + p.I + i];
    let s = 1.0 / (1.0 + exp(-gate));
    let a = gate * s * up;
    inner[pair * p.I + i] = a;
    mine += a * dA;
    let pulled = weights[pair] * dA;
    dHidden[pair * 2u * p.I + i] = pulled * up * s * (1.0 + gate * (1.0 - s));
    dHidden[pair * 2u * p.I + p.I + i] = pulled * gate * s;
  }
  partial[lane] = mine;
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { partial[lane] += partial[lane + half]; }
  }
  if (lane == 0u) { dWeights[pair] = partial[0]; }`,
  },
  inputs: {
    buffers: [read("dHidden"), read("experts", "i32"), read("gateUp"), write("dx")],
    body: `
  let token = index / p.H;
  if (token >= p.T) { return; }
  let c = index % p.H;
  var sum = 0.0;
  for (var pair = token * p.topK; pair < (token + 1u) * p.topK; pair++) {
    let rows = u32(experts[pair]) * 2u * p.I * p.strideH + c;
    for (var r = 0u; r < 2u * p.I; r++) { sum += dHidden[pair * 2u * p.I + r] * gateUp[rows + r * p.strideH]; }
  }
  dx[index] = sum;`,
  },
  gateUps: {
    buffers: [read("x"), read("dHidden"), read("starts", "i32"), read("lists", "i32"), write("dGateUp")],
    body: `
  let row = index / p.strideH;
  if (row >= p.E * 2u * p.I) { return; }
  let c = index % p.strideH;
  let e = row / (2u * p.I);
  let r = row % (2u * p.I);
  var sum = 0.0;
  if (c < p.H) {
    for (var n = starts[e]; n < starts[e + 1u]; n++) {
      let pair = u32(lists[n]);
      sum += dHidden[pair * 2u * p.I + r] * x[pair / p.topK * p.H + c];
    }
  }
  dGateUp[index] = sum;`,
  },
  downs: {
    buffers: [read("dy"), read("weights"), read("inner"), read("starts", "i32"), read("lists", "i32"), write("dDown")],
    body: `
  let row = index / p.strideI;
  if (row >= p.E * p.H) { return; }
  let i = index % p.strideI;
  let e = row / p.H;
  let c = row % p.H;
  var sum = 0.0;
  if (i < p.I) {
    for (var n = starts[e]; n < starts[e + 1u]; n++) {
      let pair = u32(lists[n]);
      sum += weights[pair] * dy[pair / p.topK * p.H + c] * inner[pair * p.I + i];
    }
  }
  dDown[index] = sum;`,
  },
};

const kernels = new Map<ExpertPass, WebGpuKernel>();

export function expertKernel(pass: ExpertPass): WebGpuKernel {
  let kernel = kernels.get(pass);
  if (!kernel) {
    const { buffers, body } = passes[pass];
    kernel = {
      label: `moe gradient ${pass}`,
      code: /* wgsl */ `
${expertParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${buffers.map((text, i) => `@group(0) @binding(${i + 1}) ${text}`).join("\n")}
${pass === "inner" ? "var<workgroup> partial: array<f32, 64>;" : ""}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = (group.y * groups.x + group.x) * 64u + lane;
${body}
}`,
    };
    kernels.set(pass, kernel);
  }
  return kernel;
}

export function moeGradientVariants(): WebGpuKernel[] {
  return (Object.keys(passes) as ExpertPass[]).map(expertKernel); // the keys of the table above
}
