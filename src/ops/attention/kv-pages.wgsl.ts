/**
 * WGSL to load and store the elements of cache pages in each storage type.
 *
 * Loads come in four adjacent channels, stores in two; 16-bit types stay packed in u32 words, so no kernel needs the
 * shader-f16 feature.
 */
import type { KvPages } from "./kv-pages.js";

export type KvStore = KvPages["dtype"];

export const kvStores: readonly KvStore[] = ["f32", "f16", "bf16"];

/** `alias Kv4` (the storage of four adjacent channels) and `fn widen(stored: Kv4) -> vec4f`. */
export const kvLoad: Readonly<Record<KvStore, string>> = {
  f32: /* wgsl */ `
alias Kv4 = vec4f;
fn widen(stored: Kv4) -> vec4f { return stored; }`,
  f16: /* wgsl */ `
alias Kv4 = vec2u;
fn widen(stored: Kv4) -> vec4f { return vec4f(unpack2x16float(stored.x), unpack2x16float(stored.y)); }`,
  bf16: /* wgsl */ `
alias Kv4 = vec2u;
fn widen(stored: Kv4) -> vec4f {
  return bitcast<vec4f>(vec4u(stored.x << 16u, stored.x & 0xffff0000u, stored.y << 16u, stored.y & 0xffff0000u));
}`,
};

/** What kernels load at once: 16 bytes where the head size allows it. */
export interface KvUnit {
  readonly channels: 4 | 8;
  /** `alias KvUnit`, `fn widen0(stored: KvUnit) -> vec4f` and, for eight channels, `widen1` for the last four. */
  readonly wgsl: string;
}

export function kvUnit(store: KvStore, headDim: number): KvUnit {
  const load = kvLoad[store];
  if (store === "f32" || headDim % 8 !== 0) {
    const wgsl = `${load}\nalias KvUnit = Kv4;\nfn widen0(stored: KvUnit) -> vec4f { return widen(stored); }`;
    return { channels: 4, wgsl };
  }
  const wgsl = `${load}
alias KvUnit = vec4u;
fn widen0(stored: KvUnit) -> vec4f { return widen(stored.xy); }
fn widen1(stored: KvUnit) -> vec4f { return widen(stored.zw); }`;
  return { channels: 8, wgsl };
}

/** `alias Kv2` (the storage of two adjacent channels) and `fn narrow(x: vec2f) -> Kv2`, to nearest, ties to even. */
export const kvStore: Readonly<Record<KvStore, string>> = {
  f32: /* wgsl */ `
alias Kv2 = vec2f;
fn narrow(x: vec2f) -> Kv2 { return x; }`,
  // Written out because WGSL leaves the rounding of pack2x16float open, and all devices shall store the same bits.
  f16: /* wgsl */ `
alias Kv2 = u32;
fn half(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let sign = (bits >> 16u) & 0x8000u;
  let magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) { return sign | 0x7e00u; }
  if (magnitude >= 0x477ff000u) { return sign | 0x7c00u; }   // 65520 and more round to infinity
  if (magnitude < 0x38800000u) {                              // below 2^-14: in [0.5, 1) a float's last bit is 2^-24
    return sign | (bitcast<u32>(bitcast<f32>(magnitude) + 0.5) - 0x3f000000u);
  }
  return sign | ((magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13u) & 1u)) >> 13u);
}
fn narrow(x: vec2f) -> Kv2 { return half(x.x) | (half(x.y) << 16u); }`,
  bf16: /* wgsl */ `
alias Kv2 = u32;
fn brain(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) { return (bits >> 16u) | 0x40u; }
  return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}
fn narrow(x: vec2f) -> Kv2 { return brain(x.x) | (brain(x.y) << 16u); }`,
};
