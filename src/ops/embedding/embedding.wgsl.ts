/** Embedding look-up on WebGPU: one thread copies four columns of one token. */
import { params, type WebGpuKernel } from "../../device/index.js";
import type { WeightKind } from "../matmul/weight-matrix.js";
import { hasScales, weightAccess, weightDecoding, weightParams } from "../matmul/weights/load.wgsl.js";
import { TOKEN, TOKEN_WORDS } from "../step/layout.js";

export const EMBEDDING_WORKGROUP = 64;

export const embeddingParams = params({
  ...weightParams,
  columns: "u32",
  tokens: "u32",
  /** Rows of the whole table. */
  rows: "u32",
  /** Rows that this launch has bound. */
  firstRow: "u32",
  boundRows: "u32",
});

/** Binding numbers: step tokens, codes, scales (int8, int4), result. */
function code(kind: WeightKind): string {
  return /* wgsl */ `
${embeddingParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> tokens: array<i32>;                                        // [T, ${TOKEN_WORDS}]
@group(0) @binding(${hasScales(kind) ? 4 : 3}) var<storage, read_write> y: array<f32>;              // [T, K]
${weightDecoding(kind)}
${weightAccess({ kind, name: "W", codes: 2, scales: 3 })}

@compute @workgroup_size(${EMBEDDING_WORKGROUP})   // x: four columns a thread; y: token; z: tokens beyond the grid's limit
fn main(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let t = at.z * groups.y + at.y;
  let column = at.x * 4u;
  if (t >= p.tokens || column >= p.columns) { return; }
  let id = tokens[t * ${TOKEN_WORDS}u + ${TOKEN.id}u];
  let isOutside = id < 0 || u32(id) >= p.rows;
  let row = u32(id) - p.firstRow;                  // wraps around for rows before the piece
  let isBound = !isOutside && row < p.boundRows;
  // Each row is in one piece; ids out of range belong to the first.
  if (!isBound && !(isOutside && p.firstRow == 0u)) { return; }
  var values = vec4f(0.0);
  if (isBound) { values = loadW4(row, at.x); }
  let count = min(4u, p.columns - column);
  for (var i = 0u; i < count; i++) { y[t * p.columns + column + i] = values[i]; }
}`;
}

const kernels = new Map<WeightKind, WebGpuKernel>();

export function embeddingKernel(kind: WeightKind): WebGpuKernel {
  let kernel = kernels.get(kind);
  if (!kernel) {
    kernel = { label: `embedding ${kind}`, code: code(kind) };
    kernels.set(kind, kernel);
  }
  return kernel;
}

export function embeddingVariants(): WebGpuKernel[] {
  return (["f32", "f16", "bf16", "int8", "int4"] as const).map(embeddingKernel);
}
