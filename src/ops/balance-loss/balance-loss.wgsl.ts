/** The load-balancing loss on WebGPU: a workgroup a block of tokens; "loss": one workgroup, sums in the blocks' order. */
import { params, type WebGpuKernel } from "../../device/index.js";

export type BalancePass = "sums" | "loss" | "gradient";

/** Tokens of a block; `BLOCK` in balance-loss.as.ts. */
export const BLOCK = 64;

export const balanceParams = params({
  tokens: "u32",
  /** First block of the layer; "loss": all blocks. */
  first: "u32",
  experts: "u32",
  topK: "u32",
  all: "u32",
  /** coefficient · E / N. */
  factor: "f32",
});

const bodies: Readonly<Record<BalancePass, { readonly buffers: readonly string[]; readonly body: string }>> = {
  sums: {
    buffers: [
      "var<storage, read> z: array<f32>;               // [T, E]",
      "var<storage, read> chosen: array<u32>;          // [T, k]",
      "var<storage, read_write> parts: array<f32>;     // [blocks, 2, E]",
    ],
    body: `
  let begin = block * BLOCK;
  let count = min(BLOCK, max(p.tokens, begin) - begin);
  if (lane < count) { keep(begin + lane, lane); }
  workgroupBarrier();
  if (count == 0u) { return; }
  for (var e = lane; e < p.experts; e += BLOCK) {
    var sum = 0.0;
    var hits = 0u;
    for (var i = 0u; i < count; i++) {
      sum += exp(z[(begin + i) * p.experts + e] - largest[i]) / total[i];
      for (var j = 0u; j < p.topK; j++) { hits += u32(chosen[(begin + i) * p.topK + j] == e); }
    }
    let to = (p.first + block) * 2u * p.experts + e;
    parts[to] = sum;
    parts[to + p.experts] = f32(hits);
  }`,
  },
  loss: {
    buffers: [
      "var<storage, read> parts: array<f32>;           // [blocks, 2, E]",
      "var<storage, read_write> shares: array<f32>;    // [E]: f",
      "var<storage, read_write> loss: array<f32>;",
    ],
    body: `
  var mine = 0.0;
  for (var e = lane; e < p.experts; e += BLOCK) {
    var sum = 0.0;
    var hits = 0.0;
    for (var i = 0u; i < p.first; i++) {
      sum += parts[i * 2u * p.experts + e];
      hits += parts[i * 2u * p.experts + p.experts + e];
    }
    let share = hits / f32(p.all);
    shares[e] = share;
    mine += share * sum;
  }
  total[lane] = mine;
  workgroupBarrier();
  if (lane == 0u) {
    var sum = 0.0;
    for (var i = 0u; i < BLOCK; i++) { sum += total[i]; }
    loss[0] = p.factor * sum;
  }`,
  },
  gradient: {
    buffers: [
      "var<storage, read> z: array<f32>;               // [T, E]",
      "var<storage, read> shares: array<f32>;          // [E]",
      "var<storage, read> dLoss: array<f32>;",
      "var<storage, read_write> dz: array<f32>;        // [T, E]",
    ],
    body: `
  let token = block * BLOCK + lane;
  if (token >= p.tokens) { return; }
  let row = token * p.experts;
  keep(token, lane);
  var mean = 0.0;
  for (var e = 0u; e < p.experts; e++) { mean += exp(z[row + e] - largest[lane]) / total[lane] * shares[e]; }
  for (var e = 0u; e < p.experts; e++) {
    dz[row + e] = dLoss[0] * p.factor * exp(z[row + e] - largest[lane]) / total[lane] * (shares[e] - mean);
  }`,
  },
};

/** A token's largest logit, and its sum of exponentials relative to it. */
const keep = /* wgsl */ `
fn keep(token: u32, lane: u32) {
  var best = -3.0e38;
  for (var e = 0u; e < p.experts; e++) { best = max(best, z[token * p.experts + e]); }
  var sum = 0.0;
  for (var e = 0u; e < p.experts; e++) { sum += exp(z[token * p.experts + e] - best); }
  largest[lane] = best;
  total[lane] = sum;
}`;

const kernels = new Map<BalancePass, WebGpuKernel>();

export function balanceKernel(pass: BalancePass): WebGpuKernel {
  let kernel = kernels.get(pass);
  if (!kernel) {
    const { buffers, body } = bodies[pass];
    kernel = {
      label: `balance-loss ${pass}`,
      code: /* wgsl */ `
${balanceParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${buffers.map((text, i) => `@group(0) @binding(${i + 1}) ${text}`).join("\n")}
const BLOCK = ${BLOCK}u;
var<workgroup> total: array<f32, BLOCK>;
${pass === "loss" ? "" : `var<workgroup> largest: array<f32, BLOCK>;\n${keep}`}

@compute @workgroup_size(BLOCK)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let block = group.y * groups.x + group.x;
${body}
}`,
    };
    kernels.set(pass, kernel);
  }
  return kernel;
}

export const balanceVariants = (): WebGpuKernel[] => (Object.keys(bodies) as BalancePass[]).map(balanceKernel); // the table's keys
