/**
 * Cross-entropy on WebGPU. "stats" and "gradient": a workgroup a token over a piece of its logits; "loss": one workgroup adds
 * up the tokens, always in the same order.
 */
import { params, type WebGpuKernel } from "../../device/index.js";

export type CrossEntropyPass = "stats" | "loss" | "gradient";

export const crossEntropyParams = params({ tokens: "u32", first: "u32", columns: "u32", count: "u32" });

const bodies: Readonly<Record<CrossEntropyPass, { readonly buffers: readonly string[]; readonly body: string }>> = {
  stats: {
    buffers: [
      "var<storage, read> z: array<f32>;             // [T, columns]",
      "var<storage, read> targets: array<i32>;       // [T]",
      "var<storage, read_write> stats: array<vec4f>; // [T]: maximum, sum, the target's logit",
    ],
    body: `
  let t = group.y * groups.x + group.x;
  if (t >= p.tokens) { return; }
  let row = t * p.columns;
  var best = -3.0e38;
  for (var i = lane; i < p.columns; i += 64u) { best = max(best, z[row + i]); }
  partial[lane] = best;
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { partial[lane] = max(partial[lane], partial[lane + half]); }
  }
  workgroupBarrier();
  best = partial[0];
  workgroupBarrier();
  var sum = 0.0;
  for (var i = lane; i < p.columns; i += 64u) { sum += exp(z[row + i] - best); }
  partial[lane] = sum;
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { partial[lane] += partial[lane + half]; }
  }
  if (lane == 0u) {
    var before = vec4f(-3.0e38, 0.0, 0.0, 0.0);
    if (p.first > 0u) { before = stats[t]; }
    let next = max(before.x, best);
    let total = before.y * exp(before.x - next) + partial[0] * exp(best - next);
    let target_ = targets[t] - i32(p.first);
    var own = before.z;
    if (target_ >= 0 && target_ < i32(p.columns)) { own = z[row + u32(target_)]; }
    stats[t] = vec4f(next, total, own, 0.0);
  }`,
  },
  loss: {
    buffers: [
      "var<storage, read> stats: array<vec4f>;",
      "var<storage, read> targets: array<i32>;",
      "var<storage, read_write> loss: array<f32>;",
    ],
    body: `
  var sum = 0.0;
  for (var t = lane; t < p.tokens; t += 64u) {
    if (targets[t] >= 0) { sum += log(stats[t].y) + (stats[t].x - stats[t].z); }
  }
  partial[lane] = sum;
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { partial[lane] += partial[lane + half]; }
  }
  if (lane == 0u) { loss[0] = partial[0] / f32(p.count); }`,
  },
  gradient: {
    buffers: [
      "var<storage, read> z: array<f32>;",
      "var<storage, read> targets: array<i32>;",
      "var<storage, read> stats: array<vec4f>;",
      "var<storage, read> dLoss: array<f32>;",
      "var<storage, read_write> dz: array<f32>;      // [T, columns]",
    ],
    body: `
  let t = group.y * groups.x + group.x;
  if (t >= p.tokens) { return; }
  let row = t * p.columns;
  let mine = stats[t];
  let target_ = targets[t] - i32(p.first);
  let factor = select(0.0, dLoss[0] / f32(p.count), targets[t] >= 0);
  for (var i = lane; i < p.columns; i += 64u) {
    let share = exp(z[row + i] - mine.x) / mine.y;
    dz[row + i] = factor * (share - select(0.0, 1.0, i32(i) == target_));
  }`,
  },
};

const kernels = new Map<CrossEntropyPass, WebGpuKernel>();

export function crossEntropyKernel(pass: CrossEntropyPass): WebGpuKernel {
  let kernel = kernels.get(pass);
  if (!kernel) {
    const { buffers, body } = bodies[pass];
    kernel = {
      label: `cross-entropy ${pass}`,
      code: /* wgsl */ `
${crossEntropyParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${buffers.map((text, i) => `@group(0) @binding(${i + 1}) ${text}`).join("\n")}
${pass === "gradient" ? "" : "var<workgroup> partial: array<f32, 64>;"}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
${body}
}`,
    };
    kernels.set(pass, kernel);
  }
  return kernel;
}

export const crossEntropyVariants = (): WebGpuKernel[] =>
  (Object.keys(bodies) as CrossEntropyPass[]).map(crossEntropyKernel); // the keys of the table above
