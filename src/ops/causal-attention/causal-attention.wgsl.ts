/**
 * Causal attention and its gradient on WebGPU. A thread is one query of one head ("forward", "queries") or one key of one
 * key/value head ("keys"); neighbouring threads are neighbouring tokens, so they read the same keys (or queries) at the same
 * time. Nothing is exchanged between threads: every sum has one owner.
 */
import { params, type WebGpuKernel } from "../../device/index.js";

export type CausalPass = "forward" | "queries" | "keys";

export const attentionParams = params({ tokens: "u32", heads: "u32", kvHeads: "u32", window: "i32", scale: "f32" });

const inputs = [
  "var<storage, read> qkv: array<f32>;          // [T, H + 2G, D]",
  "var<storage, read> tokens: array<vec4i>;     // id, position, row, slot",
  "var<storage, read> rows: array<vec4i>;       // first token, count, slot, past",
];

const buffers: Readonly<Record<CausalPass, readonly string[]>> = {
  forward: [
    ...inputs,
    "var<storage, read_write> out: array<f32>;      // [T, H, D]",
    "var<storage, read_write> logSums: array<f32>;  // [T, H]",
  ],
  queries: [
    ...inputs,
    "var<storage, read> out: array<f32>;",
    "var<storage, read> logSums: array<f32>;",
    "var<storage, read> dOut: array<f32>;           // [T, H, D]",
    "var<storage, read_write> dQkv: array<f32>;     // [T, H + 2G, D]",
    "var<storage, read_write> pulls: array<f32>;    // [T, H]",
  ],
  keys: [
    ...inputs,
    "var<storage, read> logSums: array<f32>;",
    "var<storage, read> dOut: array<f32>;",
    "var<storage, read> pulls: array<f32>;",
    "var<storage, read_write> dQkv: array<f32>;",
  ],
};

const bodies: Readonly<Record<CausalPass, string>> = {
  forward: `
  let t = index % p.tokens;
  let h = index / p.tokens;
  if (h >= p.heads) { return; }
  let g = h / (p.heads / p.kvHeads);
  let first = firstKey(t);
  let at = (t * p.heads + h) * D;
  var q: array<f32, D>;
  for (var c = 0u; c < D; c++) { q[c] = qkv[queryAt(t, h) + c] * p.scale; }
  var sums = array<f32, D>();
  var best = -3.0e38;
  var total = 0.0;
  for (var j = first; j <= t; j++) {
    let key = keyAt(j, g);
    var score = 0.0;
    for (var c = 0u; c < D; c++) { score += q[c] * qkv[key + c]; }
    let next = max(best, score);
    let shrink = exp(best - next);
    let weight = exp(score - next);
    best = next;
    total = total * shrink + weight;
    for (var c = 0u; c < D; c++) { sums[c] = sums[c] * shrink + weight * qkv[key + V + c]; }
  }
  for (var c = 0u; c < D; c++) { out[at + c] = sums[c] / total; }
  logSums[t * p.heads + h] = best + log(total);`,
  queries: `
  let t = index % p.tokens;
  let h = index / p.tokens;
  if (h >= p.heads) { return; }
  let g = h / (p.heads / p.kvHeads);
  let at = (t * p.heads + h) * D;
  var q: array<f32, D>;
  var up: array<f32, D>;
  var pull = 0.0;
  for (var c = 0u; c < D; c++) {
    q[c] = qkv[queryAt(t, h) + c] * p.scale;
    up[c] = dOut[at + c];
    pull += up[c] * out[at + c];
  }
  pulls[t * p.heads + h] = pull;
  let logSum = logSums[t * p.heads + h];
  var sums = array<f32, D>();
  for (var j = firstKey(t); j <= t; j++) {
    let key = keyAt(j, g);
    var score = 0.0;
    var dWeight = 0.0;
    for (var c = 0u; c < D; c++) {
      score += q[c] * qkv[key + c];
      dWeight += up[c] * qkv[key + V + c];
    }
    let dScore = exp(score - logSum) * (dWeight - pull) * p.scale;
    for (var c = 0u; c < D; c++) { sums[c] += dScore * qkv[key + c]; }
  }
  for (var c = 0u; c < D; c++) { dQkv[queryAt(t, h) + c] = sums[c]; }`,
  keys: `
  let j = index % p.tokens;
  let g = index / p.tokens;
  if (g >= p.kvHeads) { return; }
  let row = rows[tokens[j].z];
  let end = min(u32(row.x + row.y), j + u32(p.window));
  let key = keyAt(j, g);
  var k: array<f32, D>;
  var v: array<f32, D>;
  for (var c = 0u; c < D; c++) {
    k[c] = qkv[key + c] * p.scale;
    v[c] = qkv[key + V + c];
  }
  var dk = array<f32, D>();
  var dv = array<f32, D>();
  let perGroup = p.heads / p.kvHeads;
  for (var h = g * perGroup; h < (g + 1u) * perGroup; h++) {
    for (var t = j; t < end; t++) {
      let query = queryAt(t, h);
      let at = (t * p.heads + h) * D;
      var score = 0.0;
      var dWeight = 0.0;
      for (var c = 0u; c < D; c++) {
        score += k[c] * qkv[query + c];
        dWeight += v[c] * dOut[at + c];
      }
      let weight = exp(score - logSums[t * p.heads + h]);
      let dScore = weight * (dWeight - pulls[t * p.heads + h]) * p.scale;
      for (var c = 0u; c < D; c++) {
        dv[c] += weight * dOut[at + c];
        dk[c] += dScore * qkv[query + c];
      }
    }
  }
  for (var c = 0u; c < D; c++) {
    dQkv[key + c] = dk[c];
    dQkv[key + V + c] = dv[c];
  }`,
};

export function causalKernel(pass: CausalPass, headDim: number): WebGpuKernel {
  const bindings = buffers[pass].map((text, i) => `@group(0) @binding(${i + 1}) ${text}`);
  return {
    label: `causal attention ${pass} D=${headDim}`,
    code: /* wgsl */ `
${attentionParams.wgsl}
const D = ${headDim}u;
@group(0) @binding(0) var<uniform> p: Params;
${bindings.join("\n")}
fn queryAt(t: u32, h: u32) -> u32 { return (t * (p.heads + 2u * p.kvHeads) + h) * D; }
fn keyAt(t: u32, g: u32) -> u32 { return queryAt(t, p.heads + g); }
fn firstKey(t: u32) -> u32 { return u32(max(rows[tokens[t].z].x, i32(t) - p.window + 1)); }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = (group.y * groups.x + group.x) * 64u + lane;
  let V = p.kvHeads * D;         // from a key to its value
${bodies[pass]}
}`,
  };
}
