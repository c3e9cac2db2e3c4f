/**
 * What the WebGPU products share: parameters, bindings, and the loading of x.
 *
 * Bindings  x, codes of the weight rows (W), codes of the up rows (U, with `gate`), scales (int8 and int4), bias, multiply and
 *           its norm's weight, residual, the norm's weight and result (of kernels that norm x), out: those in use, in this
 *           order. Without norms that is at most 8, WebGPU's guaranteed minimum.
 * Pieces    A launch computes columns firstOutput … firstOutput + pieceOutputs − 1 of the result: codes W are bound from
 *           the piece's first row, codes U from `upRow` rows before the piece's first up row, because a binding must begin
 *           at an aligned byte.
 */
import { params } from "../../device/index.js";
import { type Epilogue, epilogueWgsl } from "./epilogue.wgsl.js";
import type { WeightKind } from "./weight-matrix.js";
import { hasScales, weightAccess, weightDecoding, weightParams } from "./weights/load.wgsl.js";

export const matmulParams = params({
  ...weightParams,
  /** T, K, N'. */
  tokens: "u32",
  inputs: "u32",
  outputs: "u32",
  firstOutput: "u32",
  pieceOutputs: "u32",
  upRow: "u32",
  /** Row of the bound scales that belongs to row 0 of codes W and U; modulo 2^32. */
  scaleRow: "u32",
  upScaleRow: "u32",
  alpha: "f32",
  beta: "f32",
  /** Of the norms of x and of the factor. */
  eps: "f32",
  /** One-row products: outputs of a workgroup, rounds that it takes, workgroups along x of the folded grid. */
  groupOutputs: "u32",
  rounds: "u32",
  gridWidth: "u32",
});

/**
 * How x is loaded. `whole`: K is a multiple of 32, every load is in range. `quads`: K is a multiple of 4, loads of four are
 * in range or wholly outside. `scalars`: any K. Columns beyond K are zero: padded weights are zeros too, but 0 · ∞ is not.
 */
export type XLoad = "whole" | "quads" | "scalars";

export interface MatmulVariant {
  readonly kind: WeightKind;
  /** `halves`: the kernel loads vectors of eight halves itself. */
  readonly x: XLoad | "halves";
  readonly epilogue: Epilogue;
  /** x is normed on the way, and the normed rows are stored: of the kernels for few tokens. */
  readonly norm?: boolean;
}

/** Binding 1 and `fn quadX(token: u32, quad: u32) -> vec4f`; needs p.inputs. */
export const quadX: Record<XLoad, string> = {
  whole: /* wgsl */ `
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
fn quadX(token: u32, quad: u32) -> vec4f { return x[token * (p.inputs / 4u) + quad]; }`,
  quads: /* wgsl */ `
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
fn quadX(token: u32, quad: u32) -> vec4f {
  if (4u * quad < p.inputs) { return x[token * (p.inputs / 4u) + quad]; }
  return vec4f();
}`,
  scalars: /* wgsl */ `
@group(0) @binding(1) var<storage, read> x: array<f32>;
fn elementX(token: u32, column: u32) -> f32 {
  if (column < p.inputs) { return x[token * p.inputs + column]; }
  return 0.0;
}
fn quadX(token: u32, quad: u32) -> vec4f {
  let column = 4u * quad;
  return vec4f(elementX(token, column), elementX(token, column + 1u), elementX(token, column + 2u), elementX(token, column + 3u));
}`,
};

/** Parameters, bindings and the functions `quadX`, `load…`, `finish`, `put`; follows any `enable` lines. */
export function matmulHead({ kind, x, epilogue, norm = false }: MatmulVariant): string {
  const count = { at: 1 };
  const next = (used: boolean): number => (used ? ++count.at : 0);
  const w = next(true);
  const u = next(epilogue.gate);
  const scales = next(hasScales(kind));
  const bias = next(epilogue.bias);
  const multiply = next(epilogue.multiply);
  const multiplyGain = next(epilogue.multiplyNorm ?? false);
  const residual = next(epilogue.residual);
  const gain = next(norm);
  const normed = next(norm);
  const out = next(true);
  return /* wgsl */ `
${matmulParams.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
${x === "halves" ? "@group(0) @binding(1) var<storage, read> x: array<vec4u>;" : quadX[x]}
${weightDecoding(kind)}
${weightAccess({ kind, name: "W", codes: w, scales, scaleRow: "p.scaleRow" })}
${epilogue.gate ? weightAccess({ kind, name: "U", codes: u, scales: "W", scaleRow: "p.upScaleRow" }) : ""}
${epilogueWgsl(epilogue, { bias, multiply, multiplyGain, residual })}
${norm ? normBindings(gain, normed) : ""}
@group(0) @binding(${out}) var<storage, read_write> out: array<f32>;
// Stores one result; \`output\` counts from the piece's first.
fn put(z: f32, up: f32, token: u32, output: u32) {
  if (token < p.tokens && output < p.pieceOutputs) {
    let column = p.firstOutput + output;
    out[token * p.outputs + column] = finish(z, up, token, column);
  }
}`;
}

const normBindings = (gain: number, normed: number): string => /* wgsl */ `
@group(0) @binding(${gain}) var<storage, read> gain: array<vec4f>;              // [K]
@group(0) @binding(${normed}) var<storage, read_write> normed: array<vec4f>;    // [T, K]`;

/** "int4 whole silu gate bias" */
export function describeVariant({ kind, x, epilogue: e, norm }: MatmulVariant): string {
  const flags = (["gate", "bias", "multiply", "multiplyNorm", "residual"] as const).filter((flag) => e[flag]);
  return [kind, x, ...(e.activation === "none" ? [] : [e.activation]), ...flags, ...(norm ? ["norm"] : [])].join(" ");
}
