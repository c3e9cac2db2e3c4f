/**
 * The product for many tokens on matrix units (./matrix-tile.wgsl.ts): f16 operands, f32 accumulators.
 *
 * x is rounded to halves by a launch before, because each of its rows is staged many times.
 *
 * Precision x (held inside ±65504) and the weights are rounded to f16, products add up in float32. int8: codes are exact and
 *           scales multiply the sums.
 */
import { params } from "../../device/index.js";
import { describeVariant, type MatmulVariant, matmulHead, quadX, type XLoad } from "./matmul.wgsl.js";
import { type MatrixShape, matrixEnables, matrixShapeLabel, matrixTile } from "./matrix-tile.wgsl.js";
import { stagedWeights } from "./matrix-weights.wgsl.js";

/** `fn packQuad(quad: vec4f) -> vec2u`: four halves, in the order that the weights' kind wants (./matrix-weights.wgsl.ts). */
export const packQuad = (swaps: boolean): string => /* wgsl */ `
fn packQuad(quad: vec4f) -> vec2u {
  // A larger number would become infinite.
  let held = clamp(quad, vec4f(-65504.0), vec4f(65504.0));
  return ${swaps ? "vec2u(pack2x16float(held.xz), pack2x16float(held.yw))" : "vec2u(pack2x16float(held.xy), pack2x16float(held.zw))"};
}`;

export const halvesParams = params({ tokens: "u32", inputs: "u32", rowOctets: "u32" });
export const HALVES_WORKGROUP = 128;

/** Octets of a row of halves: K rounded up to the deepest tile. */
export function halvesRowOctets(K: number): number {
  return Math.ceil(K / 64) * 8;
}

/** `rowOctets` of WGSL. */
export const rowOctetsWgsl = /* wgsl */ `
fn rowOctets() -> u32 { return (p.inputs + 63u) / 64u * 8u; }`;

/**
 * What becomes of numbers beyond ±65504. A loss that was scaled too high shows in its gradients alone: they must not be held
 * inside.
 */
export type HalvesEdge = "held" | "not finite";

/** `packQuad` of a gradient, under a name of its own: numbers beyond the edge become infinite or NaN. */
export const packGradientQuad = (name: string): string => /* wgsl */ `
fn ${name}(quad: vec4f) -> vec2u {
  let held = clamp(quad, vec4f(-65504.0), vec4f(65504.0));
  let beyond = select(vec4u(0x7c00u), vec4u(), abs(quad) <= vec4f(65504.0));
  return vec2u(pack2x16float(held.xy) | beyond.x | (beyond.y << 16u), pack2x16float(held.zw) | beyond.z | (beyond.w << 16u));
}`;

/** Buffers: x, halves [T, rowOctets] of 16 bytes, filled up with zeros. Grid: octets; tokens. */
export const halvesKernel = (x: XLoad, swaps: boolean, edge: HalvesEdge = "held"): string => /* wgsl */ `
${halvesParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${quadX[x]}
@group(0) @binding(2) var<storage, read_write> halves: array<vec4u>;
${edge === "held" ? packQuad(swaps) : packGradientQuad("packQuad")}
@compute @workgroup_size(${HALVES_WORKGROUP})
fn main(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let token = at.z * groups.y + at.y;
  if (token >= p.tokens || at.x >= p.rowOctets) { return; }
  var octet = vec4u();
  if (8u * at.x < p.inputs) { octet = vec4u(packQuad(quadX(token, 2u * at.x)), packQuad(quadX(token, 2u * at.x + 1u))); }
  halves[token * p.rowOctets + at.x] = octet;
}`;

export function halvesLabel(x: XLoad, swaps: boolean, edge: HalvesEdge = "held"): string {
  return `matmul halves ${x}${swaps ? " swapped" : ""}${edge === "held" ? "" : " of gradients"}`;
}

export interface MatrixGemmVariant extends Omit<MatmulVariant, "x"> {
  readonly shape: MatrixShape;
  /** Threads of a subgroup; the device has no other size. */
  readonly subgroupSize: number;
}

/** Nothing follows the sums: a tile inside the result is stored as it is. */
function isBare({ kind, epilogue: e }: MatrixGemmVariant): boolean {
  const follows = e.bias || e.gate || e.multiply || e.residual || e.activation !== "none";
  return !follows && stagedWeights[kind].sumsAreResults;
}

/** Grid: tiles of outputs; tiles of tokens. */
export const matrixGemmKernel = (v: MatrixGemmVariant): string => /* wgsl */ `
${matrixEnables}
${matmulHead({ ...v, x: "halves" })}
${rowOctetsWgsl}
fn tokenX(firstToken: u32, lastToken: u32, line: u32) -> u32 { return min(firstToken + line, lastToken); }
${matrixTile({ ...v, gate: v.epilogue.gate, quads: false, enter: wholeMatrix, ...(isBare(v) ? { direct: isInside } : {}) })}`;

const isInside = "firstToken + TOKENS <= p.tokens && firstOutput + OUTPUTS <= p.pieceOutputs";

const wholeMatrix = /* wgsl */ `
  let firstOutput = tile.x * OUTPUTS;
  let firstToken = tile.y * TOKENS;
  let lastToken = p.tokens - 1u;
  let firstRow = 0u;
  let firstUpRow = p.upRow;`;

export function matrixGemmLabel(v: MatrixGemmVariant): string {
  return `matmul gemm ${describeVariant({ ...v, x: "halves" })} matrix ${matrixShapeLabel(v.shape)}`;
}
