/** WGSL for what follows the weighted sum of the experts, chosen by flags; mix.inline.as.ts is the same for the CPU. */

export interface MixVariant {
  /** `plain`: y + shared; `mixed`: (1 − c) y + c shared. */
  readonly shared: "none" | "plain" | "mixed";
  readonly residual: boolean;
}

/** Storage bindings that a mix needs, besides weights and result. */
export function mixBindings({ shared, residual }: MixVariant): number {
  return { none: 0, plain: 1, mixed: 2 }[shared] + (residual ? 1 : 0);
}

/**
 * Bindings `first`, … (shared output, coefficient, residual, result) and `fn putMix(y: f32, token: u32, channel: u32)`,
 * which stores a result. Needs `p` with channels, alpha and beta.
 */
export function mixWgsl(v: MixVariant, first: number): string {
  return /* wgsl */ `
${mixShared[v.shared](first)}
${v.residual ? withResidual(first + mixBindings({ ...v, residual: false })) : withoutResidual}
@group(0) @binding(${first + mixBindings(v)}) var<storage, read_write> out: array<f32>;             // [T, H]
fn putMix(y: f32, token: u32, channel: u32) {
  let index = token * p.channels + channel;
  out[index] = addResidual(mixShared(y, token, index), index);
}`;
}

export function describeMix({ shared, residual }: MixVariant): string {
  return [...(shared === "none" ? [] : [`shared=${shared}`]), ...(residual ? ["residual"] : [])].join(" ");
}

export const mixVariants: readonly MixVariant[] = (["none", "plain", "mixed"] as const).flatMap((shared) =>
  [false, true].map((residual) => ({ shared, residual })),
);

const mixShared: Record<MixVariant["shared"], (binding: number) => string> = {
  none: () => /* wgsl */ `
fn mixShared(y: f32, token: u32, index: u32) -> f32 { return y; }`,
  plain: (binding) => /* wgsl */ `
@group(0) @binding(${binding}) var<storage, read> shared_: array<f32>;                 // [T, H]
fn mixShared(y: f32, token: u32, index: u32) -> f32 { return y + shared_[index]; }`,
  mixed: (binding) => /* wgsl */ `
@group(0) @binding(${binding}) var<storage, read> shared_: array<f32>;                 // [T, H]
@group(0) @binding(${binding + 1}) var<storage, read> coefficient: array<f32>;         // [T]
fn mixShared(y: f32, token: u32, index: u32) -> f32 {
  let c = 1.0 / (1.0 + exp(min(-coefficient[token], 88.0))); // float32 ends at exp(88)
  return (1.0 - c) * y + c * shared_[index];
}`,
};

const withResidual = (binding: number): string => /* wgsl */ `
@group(0) @binding(${binding}) var<storage, read> residual: array<f32>;               // [T, H]
fn addResidual(y: f32, index: u32) -> f32 { return p.alpha * residual[index] + p.beta * y; }`;
const withoutResidual = /* wgsl */ `
fn addResidual(y: f32, index: u32) -> f32 { return y; }`;
