/** The cache kinds by name, as `--kv` spells them. A new kind is one file and one line here. */
import type { Device } from "../device/index.js";
import type { LayerCache } from "../nn/index.js";
import type { Tensor } from "../tensor/index.js";
import { FullCache, fullPageBytes } from "./full.js";

/** What a kind is told about its layer. */
export interface LayerCacheSpec {
  readonly kvHeads: number;
  readonly headDim: number;
  readonly pageTable: Tensor;
  /** Index among the softmax layers, and their number: policies may differ by layer. */
  readonly layer: number;
  readonly layers: number;
}

export interface CacheKind {
  create(device: Device, spec: LayerCacheSpec): LayerCache;
  /** Bytes of the largest single buffer of one page in one layer; sizes the segments. */
  pageBytes(spec: Pick<LayerCacheSpec, "kvHeads" | "headDim">): number;
}

const full = (dtype: "f32" | "f16" | "bf16"): CacheKind => ({
  create: (device, spec) => new FullCache(device, { dtype, ...spec }),
  pageBytes: (spec) => fullPageBytes({ dtype, ...spec }),
});

export const cacheKinds = { f32: full("f32"), f16: full("f16"), bf16: full("bf16") } as const satisfies Record<
  string,
  CacheKind
>;

export type CacheName = keyof typeof cacheKinds;

export const cacheNames = Object.keys(cacheKinds) as CacheName[]; // the keys of the object above

/** @throws {RangeError} unknown name; the message lists the known ones. */
export function cacheKind(name: string): CacheKind {
  if (!Object.hasOwn(cacheKinds, name)) {
    throw new RangeError(`unknown cache kind "${name}": expected one of ${cacheNames.join(", ")}`);
  }
  return cacheKinds[name as CacheName]; // checked above
}
