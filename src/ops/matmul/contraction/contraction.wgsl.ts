/**
 * The products of a backward pass (./operands.ts) in float32: tiles of 64 × 64 results, 16 of k at a time through workgroup
 * memory, [k, m] and [k, n], while the next ones wait in registers.
 *
 * Half of the threads stage A, half B: a square of 4 × 4 numbers each, turned on the way where the operand runs along k.
 */
import { params } from "../../../device/index.js";
import type { ContractionMode, Order } from "./operands.js";

export const contractionParams = params({
  M: "u32",
  N: "u32",
  K: "u32",
  /** Of a line of A and B: numbers, or octets of halves. */
  aStride: "u32",
  bStride: "u32",
  outStride: "u32",
  /** k of a part of the sum (plain), a multiple of a tile's depth; parts of an expert's sum (sums). */
  step: "u32",
  splits: "u32",
  experts: "u32",
  /** Lines of B of an expert (places). */
  expertLines: "u32",
});

/** Binding of the experts' table, and the result's. */
export const contractionBindings = (mode: ContractionMode): { readonly table: number; readonly out: number } =>
  mode === "plain" ? { table: 0, out: 3 } : { table: 3, out: 4 };

/**
 * Statements that declare kBegin, kEnd (this workgroup's part of the sum), firstLineB (B's first line) and outBase from firstM and
 * group.z; they may leave main, all lanes together. Needs DEPTH and UNIT.
 */
export const enterContraction: Readonly<Record<ContractionMode, string>> = {
  plain: /* wgsl */ `
  let kBegin = group.z * p.step;
  let kEnd = min(kBegin + p.step, p.K);
  let firstLineB = 0u;
  let outBase = group.z * p.M * p.outStride;`,
  places: /* wgsl */ `
  let expert = table[firstM / UNIT];
  if (expert >= p.experts) { return; }
  let kBegin = 0u;
  let kEnd = p.K;
  let firstLineB = expert * p.expertLines;
  let outBase = 0u;`,
  sums: /* wgsl */ `
  let expert = group.z % p.experts;
  let firstK = table[expert];
  let lastK = table[expert + 1u];
  let part = (lastK - firstK + p.splits * DEPTH - 1u) / (p.splits * DEPTH) * DEPTH;
  let kBegin = min(firstK + group.z / p.experts * part, lastK);
  let kEnd = min(kBegin + part, lastK);
  let firstLineB = 0u;
  let outBase = group.z * p.M * p.outStride;`,
};

export interface ContractionVariant {
  readonly a: Order;
  readonly b: Order;
  readonly mode: ContractionMode;
  /** Strides and N are multiples of four. */
  readonly quads: boolean;
  /** Of `places`. */
  readonly unit: number;
}

export const CONTRACTION_TILE = 64;
export const CONTRACTION_DEPTH = 16;

/** Buffers: A, B, the experts' table, C. Grid: tiles of n; tiles of m; parts of the sum times experts. */
export const contractionKernel = (v: ContractionVariant): string => {
  const { table, out } = contractionBindings(v.mode);
  const lines = [0, 1, 2, 3, 4, 5, 6, 7];
  return /* wgsl */ `
${contractionParams.wgsl}
alias Store = ${v.quads ? "vec4f" : "f32"};
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<Store>;
@group(0) @binding(2) var<storage, read> b: array<Store>;
${v.mode === "plain" ? "" : `@group(0) @binding(${table}) var<storage, read> table: array<u32>;`}
@group(0) @binding(${out}) var<storage, read_write> out: array<Store>;
const TILE = ${CONTRACTION_TILE}u;
const DEPTH = ${CONTRACTION_DEPTH}u;
const UNIT = ${v.unit}u;
const ACROSS = TILE / 4u;                            // quads of a line
var<workgroup> tileA: array<vec4f, DEPTH * ACROSS>;
var<workgroup> tileB: array<vec4f, DEPTH * ACROSS>;
${quadOf("a", v.quads)}
${quadOf("b", v.quads)}
${squareOf("a", v.a)}
${squareOf("b", v.b)}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let firstN = group.x * TILE;
  let firstM = group.y * TILE;
${enterContraction[v.mode]}
  let isB = lane >= 64u;
  let across = lane % ACROSS;
  let along = lane % 64u / ACROSS * 4u;              // of DEPTH
  let at = along * ACROSS + across;
  let column = lane % ACROSS;
  let line = lane / ACROSS;
${lines.map((i) => `  var z${i} = vec4f();`).join("\n")}
  var next: mat4x4f;
  if (isB) { next = squareb(firstN + 4u * across, p.N, kBegin + along, kEnd, firstLineB); }
  else { next = squarea(firstM + 4u * across, p.M, kBegin + along, kEnd, 0u); }
  for (var k = kBegin; k < kEnd; k += DEPTH) {
    workgroupBarrier();
    if (isB) {
${[0, 1, 2, 3].map((i) => `      tileB[at + ${i}u * ACROSS] = next[${i}];`).join("\n")}
    } else {
${[0, 1, 2, 3].map((i) => `      tileA[at + ${i}u * ACROSS] = next[${i}];`).join("\n")}
    }
    workgroupBarrier();
    // Beyond the end come zeros.
    if (isB) { next = squareb(firstN + 4u * across, p.N, k + DEPTH + along, kEnd, firstLineB); }
    else { next = squarea(firstM + 4u * across, p.M, k + DEPTH + along, kEnd, 0u); }
    for (var i = 0u; i < DEPTH; i++) {
      let low = tileA[i * ACROSS + line];
      let high = tileA[i * ACROSS + line + 8u];
      let w = tileB[i * ACROSS + column];
${lines.map((i) => `      z${i} = fma(vec4f(${i < 4 ? "low" : "high"}[${i % 4}]), w, z${i});`).join("\n")}
    }
  }
${lines.map((i) => `  put(z${i}, firstM + 4u * line + ${i < 4 ? i : 28 + i}u, firstN + 4u * column, outBase);`).join("\n")}
}

fn put(z: vec4f, m: u32, n: u32, base: u32) {
  if (m >= p.M || n >= p.N) { return; }
  let to = base + m * p.outStride + n;
${v.quads ? "  out[to / 4u] = z;" : "  for (var i = 0u; i < min(4u, p.N - n); i++) { out[to + i] = z[i]; }"}
}`;
};

/** Four numbers of a line, zeros outside of `lines` and `columns`. */
const quadOf = (name: "a" | "b", quads: boolean): string =>
  quads
    ? /* wgsl */ `
fn quad${name}(line: u32, lines: u32, column: u32, columns: u32, first: u32) -> vec4f {
  if (line < lines && column < columns) { return ${name}[((first + line) * p.${name}Stride + column) / 4u]; }
  return vec4f();
}`
    : /* wgsl */ `
fn number${name}(line: u32, lines: u32, column: u32, columns: u32, first: u32) -> f32 {
  if (line < lines && column < columns) { return ${name}[(first + line) * p.${name}Stride + column]; }
  return 0.0;
}
fn quad${name}(line: u32, lines: u32, column: u32, columns: u32, first: u32) -> vec4f {
  return vec4f(
    number${name}(line, lines, column, columns, first), number${name}(line, lines, column + 1u, columns, first),
    number${name}(line, lines, column + 2u, columns, first), number${name}(line, lines, column + 3u, columns, first),
  );
}`;

/** Column i: four outputs from `output` at k + i. */
const squareOf = (name: "a" | "b", order: Order): string =>
  order === "rows"
    ? /* wgsl */ `
fn square${name}(output: u32, outputs: u32, k: u32, kEnd: u32, first: u32) -> mat4x4f {
  return transpose(mat4x4f(
    quad${name}(output, outputs, k, kEnd, first), quad${name}(output + 1u, outputs, k, kEnd, first),
    quad${name}(output + 2u, outputs, k, kEnd, first), quad${name}(output + 3u, outputs, k, kEnd, first),
  ));
}`
    : /* wgsl */ `
fn square${name}(output: u32, outputs: u32, k: u32, kEnd: u32, first: u32) -> mat4x4f {
  return mat4x4f(
    quad${name}(k, kEnd, output, outputs, first), quad${name}(k + 1u, kEnd, output, outputs, first),
    quad${name}(k + 2u, kEnd, output, outputs, first), quad${name}(k + 3u, kEnd, output, outputs, first),
  );
}`;

export function contractionLabel(v: ContractionVariant): string {
  return `contraction f32 ${v.mode} ${v.a}×${v.b}${v.quads ? "" : " scalars"}${v.mode === "places" ? ` of ${v.unit}` : ""}`;
}

export interface SingleContractionVariant extends Omit<ContractionVariant, "quads"> {
  /** Operands are halves, so that all that leads to matrix units can be tested without them. */
  readonly halves: boolean;
}

export const SINGLE_WORKGROUP = 64;

/**
 * A thread a result, for software adapters, where barriers are slow and long kernels compile for seconds. Buffers as above.
 * Grid: results, folded; 1; parts of the sum times experts.
 */
export const singleContractionKernel = (v: SingleContractionVariant): string => {
  const { table, out } = contractionBindings(v.mode);
  const load = (name: "a" | "b", order: Order): string => {
    const [line, column] = order === "rows" ? ["output", "k"] : ["k", "output"];
    const at = v.halves
      ? `unpack2x16float(${name}[(first + ${line}) * p.${name}Stride * 4u + ${column} / 2u])[${column} % 2u]`
      : `${name}[(first + ${line}) * p.${name}Stride + ${column}]`;
    return `fn load${name}(output: u32, k: u32, first: u32) -> f32 { return ${at}; }`;
  };
  return /* wgsl */ `
${contractionParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<${v.halves ? "u32" : "f32"}>;
@group(0) @binding(2) var<storage, read> b: array<${v.halves ? "u32" : "f32"}>;
${v.mode === "plain" ? "" : `@group(0) @binding(${table}) var<storage, read> table: array<u32>;`}
@group(0) @binding(${out}) var<storage, read_write> out: array<f32>;
const DEPTH = ${CONTRACTION_DEPTH}u;
const UNIT = ${v.unit}u;
${load("a", v.a)}
${load("b", v.b)}

@compute @workgroup_size(${SINGLE_WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = (group.y * groups.x + group.x) * ${SINGLE_WORKGROUP}u + lane;
  let firstM = index / p.N;
  let n = index % p.N;
  if (firstM >= p.M) { return; }
${enterContraction[v.mode]}
  var sum = 0.0;
  for (var k = kBegin; k < kEnd; k++) { sum += loada(firstM, k, 0u) * loadb(n, k, firstLineB); }
  out[outBase + firstM * p.outStride + n] = sum;
}`;
};

export function singleContractionLabel(v: SingleContractionVariant): string {
  const unit = v.mode === "places" ? ` of ${v.unit}` : "";
  return `contraction single ${v.halves ? "halves " : ""}${v.mode} ${v.a}×${v.b}${unit}`;
}

export const sumPartsParams = params({ size: "u32", parts: "u32", width: "u32" });
export const SUM_PARTS_WORKGROUP = 256;

/** Buffers: parts [parts, size], out [size]. `size` in units of what is stored. */
export const sumPartsKernel = (quads: boolean, accumulate: boolean): string => /* wgsl */ `
${sumPartsParams.wgsl}
alias Store = ${quads ? "vec4f" : "f32"};
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> parts: array<Store>;
@group(0) @binding(2) var<storage, read_write> out: array<Store>;

@compute @workgroup_size(${SUM_PARTS_WORKGROUP})   // a thread a result: its parts in their order
fn main(@builtin(global_invocation_id) at: vec3u) {
  let index = at.y * p.width + at.x;
  if (at.x >= p.width || index >= p.size) { return; }
  var sum = parts[index];
  for (var part = 1u; part < p.parts; part++) { sum += parts[part * p.size + index]; }
  out[index] = ${accumulate ? "out[index] + sum" : "sum"};
}`;

export function sumPartsLabel(quads: boolean, accumulate: boolean): string {
  return `contraction parts${quads ? "" : " scalars"}${accumulate ? " added" : ""}`;
}
