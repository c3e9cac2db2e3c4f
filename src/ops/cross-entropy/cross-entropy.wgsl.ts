/**
 * Cross-entropy on WebGPU. "stats" and "gradient": a workgroup a token over a piece of its logits; "loss": one workgroup adds
 * up the tokens, always in the same order. "halves": the gradient before its factor, as the matrix units take it.
 */
import { params, type WebGpuKernel } from "../../device/index.js";

export type CrossEntropyPass = "stats" | "loss" | "gradient" | "halves";

export const crossEntropyParams = params({
  tokens: "u32",
  first: "u32",
  columns: "u32",
  count: "u32",
  /** Logits are z times this. */
  unit: "f32",
});

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
  for (var i = lane; i < p.columns; i += 64u) { best = max(best, p.unit * z[row + i]); }
  partial[lane] = best;
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { partial[lane] = max(partial[lane], partial[lane + half]); }
  }
  workgroupBarrier();
  best = partial[0];
  workgroupBarrier();
  var sum = 0.0;
  for (var i = lane; i < p.columns; i += 64u) { sum += exp(p.unit * z[row + i] - best); }
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
    if (target_ >= 0 && target_ < i32(p.columns)) { own = p.unit * z[row + u32(target_)]; }
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
    let share = exp(p.unit * z[row + i] - mine.x) / mine.y;
    dz[row + i] = factor * (share - select(0.0, 1.0, i32(i) == target_));
  }`,
  },
  halves: {
    buffers: [
      "var<storage, read> z: array<f32>;",
      "var<storage, read> targets: array<i32>;",
      "var<storage, read> stats: array<vec4f>;",
      "var<storage, read_write> dz: array<vec2u>;    // [T, columns rounded up to 64]: halves",
    ],
    body: `
  let t = group.y * groups.x + group.x;
  if (t >= p.tokens) { return; }
  let row = t * p.columns;
  let mine = stats[t];
  let target_ = targets[t] - i32(p.first);
  let quads = (p.columns + 63u) / 64u * 16u;
  for (var quad = lane; quad < quads; quad += 64u) {
    var values = vec4f();
    for (var j = 0u; j < 4u; j++) {
      let i = 4u * quad + j;
      if (i < p.columns && targets[t] >= 0) {
        values[j] = exp(p.unit * z[row + i] - mine.x) / mine.y - select(0.0, 1.0, i32(i) == target_);
      }
    }
    dz[t * quads + quad] = vec2u(pack2x16float(values.xy), pack2x16float(values.zw));
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
${pass === "gradient" || pass === "halves" ? "" : "var<workgroup> partial: array<f32, 64>;"}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
${body}
}`,
    };
    kernels.set(pass, kernel);
  }
  return kernel;
}

export const pairsParams = params({
  columns: "u32",
  stride: "u32",
  rows: "u32",
  octets: "u32",
  /** The part that is a rest: 1 or 2. */
  rest: "u32",
  unit: "f32",
});
export const PAIRS_WORKGROUP = 64;

/**
 * Numbers as pairs of halves, v = high + rest: a row becomes three parts, of which \`rest\` says which one holds the rests. Sums
 * of products of (high, rest, high) with (high, high, rest) are good to 2^-22. Grid: octets; rows.
 */
export const pairsKernel: WebGpuKernel = {
  label: "cross-entropy pairs",
  code: /* wgsl */ `
${pairsParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;                 // [rows, stride]
@group(0) @binding(2) var<storage, read_write> out: array<vec4u>;       // [rows, 3, octets]: halves

@compute @workgroup_size(${PAIRS_WORKGROUP})
fn main(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = at.z * groups.y + at.y;
  if (row >= p.rows || at.x >= p.octets) { return; }
  var high: vec4u;
  var rest: vec4u;
  for (var j = 0u; j < 4u; j++) {
    var pair = vec2f();
    for (var i = 0u; i < 2u; i++) {
      let column = 8u * at.x + 2u * j + i;
      if (column < p.columns) { pair[i] = clamp(p.unit * x[row * p.stride + column], -65504.0, 65504.0); }
    }
    high[j] = pack2x16float(pair);
    rest[j] = pack2x16float(pair - unpack2x16float(high[j]));
  }
  for (var part = 0u; part < 3u; part++) {
    out[(row * 3u + part) * p.octets + at.x] = select(high, rest, part == p.rest);
  }
}`,
};

export const factorParams = params({ size: "u32", width: "u32", count: "u32" });
export const FACTOR_WORKGROUP = 256;

/** x ← x · dLoss / count. */
export const factorKernel: WebGpuKernel = {
  label: "cross-entropy factor",
  code: /* wgsl */ `
${factorParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dLoss: array<f32>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(${FACTOR_WORKGROUP})
fn main(@builtin(global_invocation_id) at: vec3u) {
  let index = at.y * p.width + at.x;
  if (at.x < p.width && index < p.size) { x[index] *= dLoss[0] / f32(p.count); }
}`,
};

export const crossEntropyVariants = (): WebGpuKernel[] => [
  ...(Object.keys(bodies) as CrossEntropyPass[]).map(crossEntropyKernel), // the keys of the table above
  pairsKernel,
  factorKernel,
];
