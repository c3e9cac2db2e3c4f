/**
 * WGSL for what follows a product: bias, activation, gate, multiply, residual, as whole functions chosen by flags.
 *
 * Precision float32. gelu is the tanh form, written with the logistic function: (1 + tanh u) / 2 = σ(2u). Exponents are
 *           held below 88, where float32 ends.
 */
import type { Activation } from "./plan.js";

const logistic = /* wgsl */ `fn logistic(z: f32) -> f32 { return 1.0 / (1.0 + exp(min(-z, 88.0))); }`;

/** `fn activate(z: f32) -> f32` of each activation. */
export const activationWgsl: Record<Activation, string> = {
  none: /* wgsl */ `fn activate(z: f32) -> f32 { return z; }`,
  sigmoid: /* wgsl */ `${logistic}
fn activate(z: f32) -> f32 { return logistic(z); }`,
  silu: /* wgsl */ `${logistic}
fn activate(z: f32) -> f32 { return z * logistic(z); }`,
  // 1.5957691… = 2 √(2/π)
  gelu: /* wgsl */ `${logistic}
fn activate(z: f32) -> f32 { return z * logistic(1.5957691216057308 * (z + 0.044715 * z * z * z)); }`,
};

export interface Epilogue {
  readonly bias: boolean;
  readonly activation: Activation;
  readonly gate: boolean;
  readonly multiply: boolean;
  /** The rows of the factor are normed: of the kernels for few tokens. */
  readonly multiplyNorm?: boolean;
  readonly residual: boolean;
}

/** Binding numbers of what the flags ask for. */
export interface EpilogueBindings {
  readonly bias: number;
  readonly multiply: number;
  readonly multiplyGain: number;
  readonly residual: number;
}

/**
 * `fn finish(z: f32, up: f32, token: u32, output: u32) -> f32`: the result at [token, output] from the bare sums (`up`
 * counts with `gate` alone). Needs `p` with outputs (N'), alpha and beta.
 */
export function epilogueWgsl(e: Epilogue, at: EpilogueBindings): string {
  return /* wgsl */ `
${activationWgsl[e.activation]}
${e.bias ? biased(at.bias) : unbiased}
${e.multiplyNorm ? normedFactor(at.multiply, at.multiplyGain) : e.multiply ? multiplied(at.multiply) : unmultiplied}
${e.residual ? added(at.residual) : unadded}
${e.gate ? gated : ungated}
fn finish(z: f32, up: f32, token: u32, output: u32) -> f32 {
  let index = token * p.outputs + output;
  return addResidual(multiply(combine(z, up, output), index, output), index);
}`;
}

const gated = /* wgsl */ `
fn combine(z: f32, up: f32, output: u32) -> f32 { return activate(addBias(z, output)) * addBias(up, p.outputs + output); }`;
const ungated = /* wgsl */ `
fn combine(z: f32, up: f32, output: u32) -> f32 { return activate(addBias(z, output)); }`;

const biased = (binding: number): string => /* wgsl */ `
@group(0) @binding(${binding}) var<storage, read> bias: array<f32>;
fn addBias(z: f32, row: u32) -> f32 { return z + bias[row]; }`;
const unbiased = /* wgsl */ `
fn addBias(z: f32, row: u32) -> f32 { return z; }`;

const multiplied = (binding: number): string => /* wgsl */ `
@group(0) @binding(${binding}) var<storage, read> factor: array<f32>;
fn multiply(y: f32, index: u32, output: u32) -> f32 { return y * factor[index]; }`;
const unmultiplied = /* wgsl */ `
fn multiply(y: f32, index: u32, output: u32) -> f32 { return y; }`;
// factorScale is set by the kernel: the inverse root mean square of the factor's row.
const normedFactor = (binding: number, gain: number): string => /* wgsl */ `
@group(0) @binding(${binding}) var<storage, read> factor: array<vec4f>;
@group(0) @binding(${gain}) var<storage, read> factorGain: array<f32>;
var<private> factorScale: f32;
fn multiply(y: f32, index: u32, output: u32) -> f32 {
  return y * factor[index / 4u][index % 4u] * factorScale * factorGain[output];
}`;

const added = (binding: number): string => /* wgsl */ `
@group(0) @binding(${binding}) var<storage, read> residual: array<f32>;
fn addResidual(y: f32, index: u32) -> f32 { return p.alpha * residual[index] + p.beta * y; }`;
const unadded = /* wgsl */ `
fn addResidual(y: f32, index: u32) -> f32 { return y; }`;
