/**
 * The cache kinds by name, as `--kv` spells them. A new kind is one file and one line here.
 *
 *   f16                              a name
 *   normsplit-2:group=64,recent=16   with options behind a colon
 *   { kind: "normsplit", bits: 2, group: 64, recent: 16 }          the same in code
 */
import type { Device } from "../device/index.js";
import type { LayerCache } from "../nn/index.js";
import { PACKED_PAGE_TOKENS, PAGE_TOKENS, type PackedFormat, pageSections } from "../ops/index.js";
import type { Tensor } from "../tensor/index.js";
import type { KvCalibration } from "./calibration.js";
import { FullCache, fullPageBytes } from "./full.js";
import { akvq } from "./kinds/akvq.js";
import { integers } from "./kinds/integers.js";
import { kivi } from "./kinds/kivi.js";
import { meansplit } from "./kinds/meansplit.js";
import { normsplit } from "./kinds/normsplit.js";
import { rotatekv } from "./kinds/rotatekv.js";
import { twoBit } from "./kinds/two-bit.js";
import { PackedCache } from "./packed-cache.js";
import { checkOptions, type PackedOptions, parseOptions } from "./packed-options.js";
import type { PackedKind } from "./recipe.js";
import type { SlotTables } from "./slot-tables.js";

/** What a kind is told about its layer. */
export interface LayerCacheSpec extends LayerShape {
  /** i32 [slots, pagesPerSlot]. */
  readonly pageTable: Tensor;
  /** Longest sequence. */
  readonly maxTokens: number;
  /** Index among the softmax layers: policies may differ by layer. */
  readonly layer: number;
  /** The pool's tables for the layers that pack by this rule. */
  readonly slotTables: (format: PackedFormat) => SlotTables;
}

/** What is the same for all layers. */
export interface LayerShape {
  readonly kvHeads: number;
  readonly headDim: number;
  /** Rotary channels of a head. Default: all. */
  readonly rotaryDim?: number;
  readonly calibration?: KvCalibration | undefined;
}

export interface CacheKind {
  readonly name: string;
  /** Token slots of a page. */
  readonly pageTokens: number;
  /** Length of a slot's page table. */
  pagesPerSlot(maxTokens: number): number;
  create(device: Device, spec: LayerCacheSpec & { readonly layers: number }): LayerCache;
  /** Bytes of the largest single buffer of one page in one layer; sizes the segments. */
  pageBytes(shape: LayerShape & { readonly softmaxLayers: number }): number;
  /** Bits of a stored key or value component, parameters included, over all layers; tokens kept in 16 bits do not count. */
  bits(shape: LayerShape & { readonly softmaxLayers: number }): number;
  /** True where a calibration file makes the kind better. */
  readonly calibrated: boolean;
}

/** A kind with its options, in code. */
export type CacheConfig =
  | { readonly kind: "f32" | "f16" | "bf16" | "int8" | "int4" | "2bit" }
  | ({ readonly kind: "int8" | "int4" | "2bit" } & PackedOptions)
  | ({ readonly kind: "rtn" | "kivi" | "rotatekv"; readonly bits: 2 | 3 | 4 } & PackedOptions)
  | ({ readonly kind: "normsplit" | "meansplit"; readonly bits: 2 | 3 } & PackedOptions)
  | ({ readonly kind: "akvq"; readonly bits: 2 } & PackedOptions);

const bytesOf = { f32: 4, f16: 2, bf16: 2 } as const;

const full = (dtype: "f32" | "f16" | "bf16"): CacheKind => ({
  name: dtype,
  pageTokens: PAGE_TOKENS,
  calibrated: false,
  pagesPerSlot: (maxTokens) => Math.ceil(maxTokens / PAGE_TOKENS),
  create: (device, spec) => new FullCache(device, { dtype, ...spec }),
  pageBytes: (shape) => fullPageBytes({ dtype, ...shape }),
  bits: () => 8 * bytesOf[dtype],
});

function packed(base: string, kind: PackedKind, given: object): CacheKind {
  const options = checkOptions(base, kind.options, given);
  const name = label(base, given);
  const recipe = (shape: LayerShape, layer: number, layers: number) => {
    const { kvHeads, headDim, rotaryDim = headDim, calibration } = shape;
    return kind.recipe({ kvHeads, headDim, rotaryDim, calibration, options, layer, layers });
  };
  const pages = (shape: LayerShape & { readonly softmaxLayers: number }) =>
    Array.from({ length: shape.softmaxLayers }, (_, layer) => {
      const { format } = recipe(shape, layer, shape.softmaxLayers);
      const words = (side: "keys" | "values") => pageSections(format[side], format.kvHeads, format.headDim).words;
      return { keys: 4 * words("keys"), values: 4 * words("values") };
    });
  return {
    name,
    pageTokens: PACKED_PAGE_TOKENS,
    calibrated: kind.calibrated ?? false,
    // Blocks that a cut left short take whole token slots: as much again is for them.
    pagesPerSlot: (maxTokens) => 2 * Math.ceil(maxTokens / PACKED_PAGE_TOKENS),
    create: (device, spec) => new PackedCache(device, name, recipe(spec, spec.layer, spec.layers), spec),
    pageBytes: (shape) => Math.max(...pages(shape).flatMap(({ keys, values }) => [keys, values])),
    bits(shape) {
      const bytes = pages(shape).reduce((sum, { keys, values }) => sum + keys + values, 0);
      return (8 * bytes) / (2 * PACKED_PAGE_TOKENS * shape.kvHeads * shape.headDim * shape.softmaxLayers);
    },
  };
}

const fullKinds = { f32: full("f32"), f16: full("f16"), bf16: full("bf16") } as const;

const packedKinds = {
  int8: integers(8, "min", true, "8 bits, rotated heads, groups of 32"),
  int4: integers(4, "min", true, "4 bits, rotated heads, groups of 32"),
  "rtn-2": integers(2, "min", false, "2 bits, round to nearest, groups of 32"),
  "rtn-3": integers(3, "min", false, "3 bits, round to nearest, groups of 32"),
  "rtn-4": integers(4, "min", false, "4 bits, round to nearest, groups of 32"),
  "kivi-2": kivi(2),
  "kivi-3": kivi(3),
  "kivi-4": kivi(4),
  "rotatekv-2": rotatekv(2),
  "rotatekv-3": rotatekv(3),
  "rotatekv-4": rotatekv(4),
  "akvq-2": akvq(2),
  "normsplit-2": normsplit(2),
  "normsplit-3": normsplit(3),
  "meansplit-2": meansplit(2),
  "meansplit-3": meansplit(3),
  "2bit": twoBit,
} as const satisfies Record<string, PackedKind>;

export type CacheName = keyof typeof fullKinds | keyof typeof packedKinds;

export const cacheNames = [...Object.keys(fullKinds), ...Object.keys(packedKinds)] as CacheName[]; // keys of the objects above

/**
 * The kind of a name, of a name with options, or of an object; a kind of one's own is taken as it is.
 * @throws {RangeError} unknown name or option; the message lists the known ones.
 */
export function cacheKind(kv: string | CacheConfig | CacheKind): CacheKind {
  if (typeof kv === "object" && "create" in kv) return kv;
  if (typeof kv === "object") {
    const { kind, ...rest } = kv;
    const { bits, ...options } = { bits: undefined, ...rest };
    return named(bits === undefined ? kind : `${kind}-${bits}`, options);
  }
  const colon = kv.indexOf(":");
  if (colon < 0) return named(kv, {});
  return named(kv.slice(0, colon), parseOptions(kv.slice(0, colon), kv.slice(colon + 1)));
}

function named(name: string, options: object): CacheKind {
  if (Object.hasOwn(fullKinds, name)) {
    if (Object.keys(options).length > 0) throw new RangeError(`cache kind ${name} has no options`);
    return fullKinds[name as keyof typeof fullKinds]; // checked above
  }
  if (Object.hasOwn(packedKinds, name)) {
    return packed(name, packedKinds[name as keyof typeof packedKinds], options);
  }
  throw new RangeError(`unknown cache kind "${name}": expected one of ${cacheNames.join(", ")}`);
}

/** The name with its options, as `--kv` takes it. */
function label(name: string, options: object): string {
  const parts = Object.entries(options).map(([key, value]) => `${key}=${[value].flat().join("/")}`);
  return parts.length === 0 ? name : `${name}:${parts.join(",")}`;
}
