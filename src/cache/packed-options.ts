/**
 * Options of the packed kinds, as `--kv` spells them behind the kind's name (`normsplit-2:recent=16,group=64`) and as fields
 * of an object in code. Each kind says which it has; what is not given is the kind's default.
 *
 * A list gives the values of single layers, from the first; its last value holds for all further ones (`keyBits=4/2`).
 */
import type { CodeBits } from "../ops/index.js";

export interface PackedOptions {
  /** Bits of a code: 2, 3, 4 or 8. */
  readonly keyBits?: number | readonly number[];
  readonly valueBits?: number | readonly number[];
  /** Elements of a quantisation group: channels of a token, or tokens of a channel where keys are packed by channels. */
  readonly group?: number;
  readonly valueGroup?: number;
  /** Of a group's range, 0 < clip ≤ 1. */
  readonly clip?: number;
  readonly valueClip?: number;
  /** First tokens of a sequence that stay in 16 bits. */
  readonly sinks?: number;
  /** Newest tokens that stay in 16 bits. */
  readonly recent?: number;
  /** Tokens that stay in 16 bits because of their massive activations. */
  readonly marked?: number;
  /** Hadamard rotation of keys and values. */
  readonly rotate?: boolean;
  /** A prompt is attended packed, as decoding sees it. */
  readonly strictPrefill?: boolean;
  /** Mean split: scales that keep averages, and a mean taken off the values. Default true. */
  readonly unbiased?: boolean;
  readonly valueMean?: boolean;
  /** Mean split: levels of even steps. Default true. */
  readonly even?: boolean;
  /** Mean split: pairs of channels whose mean is taken off. */
  readonly meanPairs?: number;
  /** RotateKV: key heads that are rotated together. */
  readonly heads?: number;
  /** RotateKV: channels sorted over all heads, within a rotated block, or not at all. */
  readonly reorder?: "global" | "block" | "none";
  /** RotateKV: keys are packed before rotary embedding. */
  readonly beforeRope?: boolean;
  /** AKVQ-VL: first layers that are text-salient; a calibration file that says so decides otherwise. */
  readonly textLayers?: number;
}

type OptionName = keyof PackedOptions;

const listOptions: readonly OptionName[] = ["keyBits", "valueBits"];
const flagOptions: readonly OptionName[] = ["rotate", "strictPrefill", "beforeRope", "unbiased", "valueMean", "even"];

const allowed: Readonly<Record<OptionName, (value: number) => boolean>> = {
  keyBits: (value) => isCodeBits(value),
  valueBits: (value) => isCodeBits(value),
  group: isGroup,
  valueGroup: isGroup,
  clip: isClip,
  valueClip: isClip,
  sinks: (value) => isCount(value, 1024),
  recent: (value) => isCount(value, 65_536),
  marked: (value) => isCount(value, 256),
  rotate: isFlag,
  strictPrefill: isFlag,
  beforeRope: isFlag,
  unbiased: isFlag,
  valueMean: isFlag,
  even: isFlag,
  meanPairs: (value) => isCount(value, 128),
  heads: (value) => isCount(value, 64) && value > 0,
  reorder: () => false, // a word, see below
  textLayers: (value) => isCount(value, 4096),
};

const expected: Readonly<Partial<Record<OptionName, string>>> = {
  keyBits: "2, 3, 4 or 8",
  valueBits: "2, 3, 4 or 8",
  group: "16, 32, 64 or 128",
  valueGroup: "16, 32, 64 or 128",
  clip: "a number above 0, at most 1",
  valueClip: "a number above 0, at most 1",
  reorder: "global, block or none",
  rotate: "true or false",
  strictPrefill: "true or false",
  beforeRope: "true or false",
  unbiased: "true or false",
  valueMean: "true or false",
  even: "true or false",
};

export function isCodeBits(value: number): value is CodeBits {
  return value === 2 || value === 3 || value === 4 || value === 8;
}

function isGroup(value: number): boolean {
  return [16, 32, 64, 128].includes(value);
}

function isClip(value: number): boolean {
  return value > 0 && value <= 1;
}

function isCount(value: number, most: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= most;
}

function isFlag(value: number): boolean {
  return value === 0 || value === 1;
}

/**
 * Checks options that came from outside.
 * @throws {RangeError} an option that the kind does not have, or a value out of range.
 */
export function checkOptions(kind: string, names: readonly OptionName[], options: object): PackedOptions {
  for (const [key, value] of Object.entries(options)) {
    const name = names.find((known) => known === key);
    if (!name) {
      throw new RangeError(`cache kind ${kind} has no option "${key}": expected one of ${names.join(", ")}`);
    }
    if (value === undefined) continue;
    const values: readonly unknown[] = listOptions.includes(name) && Array.isArray(value) ? value : [value];
    const isGood = (one: unknown) => {
      if (name === "reorder") return one === "global" || one === "block" || one === "none";
      if (flagOptions.includes(name)) return typeof one === "boolean";
      return typeof one === "number" && allowed[name](one);
    };
    if (values.length === 0 || !values.every(isGood)) {
      const wanted = expected[name] ?? "a whole number in range";
      throw new RangeError(`cache kind ${kind}: ${name} expected ${wanted}, got ${JSON.stringify(value)}`);
    }
  }
  return options;
}

/** Reads `group=64,keyBits=4/2,strictPrefill=true`. @throws {RangeError} */
export function parseOptions(kind: string, text: string): Readonly<Record<string, unknown>> {
  const entries = text.split(",").map((part) => {
    const [name = "", value, ...rest] = part.split("=");
    if (!value || rest.length > 0) {
      throw new RangeError(`cache kind ${kind}: options are written name=value with commas between, got "${part}"`);
    }
    const read = (one: string): unknown =>
      one === "true" ? true : one === "false" ? false : Number.isNaN(Number(one)) ? one : Number(one);
    return [name, value.includes("/") ? value.split("/").map(read) : read(value)] as const;
  });
  return Object.fromEntries(entries);
}

/** The value for a layer. */
export function ofLayer(values: number | readonly number[] | undefined, layer: number, otherwise: CodeBits): CodeBits {
  const value = typeof values === "object" ? (values[layer] ?? values.at(-1)) : values;
  return value !== undefined && isCodeBits(value) ? value : otherwise;
}

/** The largest multiple of 16 that divides a head of `size` channels and is not above `wanted`; else the whole head. */
export function groupWithin(size: number, wanted: number): number {
  if (size <= wanted) return size;
  for (let g = wanted; g >= 16; g -= 16) if (size % g === 0) return g;
  return size;
}

/** The largest power of two that divides `size`. */
export function powerOfTwoIn(size: number): number {
  return size & -size;
}
