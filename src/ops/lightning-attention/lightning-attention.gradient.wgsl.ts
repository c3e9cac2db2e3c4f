/**
 * The three sweeps of the gradient of lightning attention on WebGPU. A workgroup is one head of one row; thread i owns row i
 * of the matrix, so that nothing is exchanged and there are no barriers.
 */
import { params, type WebGpuKernel } from "../../device/index.js";

export const sweepParams = params({ heads: "u32" });

type Vector = "q" | "k" | "v" | "dOut";

export interface Sweep {
  readonly name: "dq" | "dk" | "dv";
  /** M_i ← f · M_i + a_i · b, out_i = M_i · w. */
  readonly a: Vector;
  readonly b: Vector;
  readonly w: Vector;
  readonly isBackward: boolean;
}

/** In the order of the CPU kernel's cases. */
export const sweeps: readonly Sweep[] = [
  { name: "dq", a: "k", b: "v", w: "dOut", isBackward: false },
  { name: "dk", a: "q", b: "dOut", w: "v", isBackward: true },
  { name: "dv", a: "dOut", b: "q", w: "k", isBackward: true },
];

const part = { q: 0, k: 1, v: 2 } as const;

/** Element `i` of a vector of token `t`. */
function element(vector: Vector, i: string): string {
  if (vector === "dOut") return `dOut[(t * p.heads + head) * D + ${i}]`;
  return `qkv[((t * p.heads + head) * 3u + ${part[vector]}u) * D + ${i}]`;
}

const kernels = new Map<string, WebGpuKernel>();

export function sweepKernel(sweep: Sweep, headDim: number): WebGpuKernel {
  const label = `lightning gradient ${sweep.name} D=${headDim}`;
  let kernel = kernels.get(label);
  if (!kernel) {
    kernel = { label, code: code(sweep, headDim) };
    kernels.set(label, kernel);
  }
  return kernel;
}

function code({ name, a, b, w, isBackward }: Sweep, headDim: number): string {
  // dv's matrix is the transposed one: its row i is a value channel.
  const initialAt = name === "dv" ? "j * D + i" : "i * D + j";
  return /* wgsl */ `
${sweepParams.wgsl}
const D = ${headDim}u;
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;            // [T, H, 3, D]
@group(0) @binding(2) var<storage, read> dOut: array<f32>;           // [T, H, D]
@group(0) @binding(3) var<storage, read> initial: array<f32>;        // [slots, H, D, D]
@group(0) @binding(4) var<storage, read> decay: array<f32>;          // [H]
@group(0) @binding(5) var<storage, read> rows: array<vec4i>;         // first token, count, slot, past
@group(0) @binding(6) var<storage, read_write> dQkv: array<f32>;     // [T, H, 3, D]
@group(0) @binding(7) var<storage, read_write> dState: array<f32>;   // [slots, H, D, D]

@compute @workgroup_size(${Math.ceil(headDim / 32) * 32})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) i: u32) {
  let row = rows[group.x];
  let head = group.y;
  if (row.z < 0 || i >= D) { return; }
  let lambda = exp(-decay[head]);
  let base = (u32(row.z) * p.heads + head) * D * D;
  var m: array<f32, D>;
  for (var j = 0u; j < D; j++) { m[j] = initial[base + ${initialAt}]; }
  for (var n = 0u; n < u32(row.y); n++) {
    let t = u32(row.x) + ${isBackward ? "u32(row.y) - 1u - n" : "n"};
    // The state after the step takes its gradient undecayed.
    let f = ${isBackward ? "select(lambda, 1.0, n == 0u)" : "lambda"};
    let a = ${element(a, "i")};
    var sum = 0.0;
    for (var j = 0u; j < D; j++) {
      let next = f * m[j] + a * ${element(b, "j")};
      m[j] = next;
      sum += next * ${element(w, "j")};
    }
    dQkv[((t * p.heads + head) * 3u + ${part[name === "dq" ? "q" : name === "dk" ? "k" : "v"]}u) * D + i] = sum;
  }
${name === "dk" ? "  for (var j = 0u; j < D; j++) { dState[base + i * D + j] = lambda * m[j]; }" : ""}
}`;
}

export function lightningGradientVariants(): WebGpuKernel[] {
  return [8, 24, 64, 128].flatMap((headDim) => sweeps.map((sweep) => sweepKernel(sweep, headDim)));
}
