/**
 * The quantiser of packed caches, number by number: what both devices must produce bit for bit.
 *
 *   mode "zp":  l = fl(lo·c), h = fl(hi·c), s = max(f16(fl(fl(h − l)·inv)), 2⁻¹⁴), z = nearest(−l/s), o = f16(fl(−z·s))
 *   mode "min": l = fl(lo + fl(fl(fl(hi − lo)·½)·fl(1 − c))), s = max(f16(fl(fl(fl(hi − lo)·c)·inv)), 2⁻¹⁴), o = f16(l)
 *   code        q = how many k of 1 … 2ᵇ − 1 have fl(x − o) ≥ (k − ½)·s;       value x̂ = fl(s·q + o)
 *   levels      ρ = f16(RMS), q = how many thresholds τ have x ≥ fl(τ·ρ), a = f16(Σ x·L[q] / Σ L[q]²), x̂ = fl(a·L[q])
 *   even        the same for each group of a row, with other L and τ (levels.ts)
 *   unbiased    a = f16(Σ x² / Σ x·L[q]): x · x̂ = x · x
 *   norm        ρ = f16(RMS), the quantiser's input is fl(x / max(ρ, 2⁻¹⁴)), x̂ is multiplied by ρ
 *
 * Precision  fl: one rounding to float32, nearest even, at every written operation; inv = fl(1/(2ᵇ − 1)). f16: nearest even,
 *            larger than 65504 becomes 65504, smaller than 2⁻¹⁴ becomes +0.
 * Our choice Sums over a row or group (RMS, scale of levels) are float32 in one order: sixteen partial sums, by c mod 16, added
 *            pairwise at distances 4, 8, 2, 1; roots and quotients round to f16 once, from their exact value.
 */
import type { CodeBits, SideFormat } from "./format.js";
import { hasParams, rowWords } from "./format.js";
import { levelsOf } from "./levels.js";

const fround = Math.fround;

/** The smallest normal half: the smallest scale, and the floor of norms that divide. */
export const SMALLEST_HALF = 2 ** -14;
export const LARGEST_HALF = 65504;

/** The f16 of a cache nearest to a number (of float64: one rounding), as bits. */
export function cacheHalfBits(x: number): number {
  const size = Math.min(Math.abs(x), LARGEST_HALF);
  // Halfway between the two largest numbers that differ: ties go to even, here up.
  if (!(size >= SMALLEST_HALF * (1 - 2 ** -11))) return 0;
  const sign = x < 0 ? 0x8000 : 0;
  const exponent = Math.max(Math.floor(Math.log2(size)), -14);
  // log2 may be off by one beside a power of two; the carry below puts that right.
  const steps = nearestEven((size / 2 ** exponent) * 1024);
  return sign | (((exponent + 14) << 10) + steps);
}

/** The number of f16 bits. */
export function cacheHalfValue(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const value = exponent === 0 ? (bits & 1023) * 2 ** -24 : (1024 + (bits & 1023)) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -value : value;
}

export const cacheHalf = (x: number): number => cacheHalfValue(cacheHalfBits(x));

function nearestEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

/** NaN counts as 0; a half's range is not left. */
export function sanitised(x: number): number {
  return Number.isNaN(x) ? 0 : Math.min(Math.max(fround(x), -LARGEST_HALF), LARGEST_HALF);
}

/** Scale and offset of a group with smallest element `lo` and largest `hi`. */
export function groupParameters(lo: number, hi: number, side: SideFormat): { scale: number; offset: number } {
  const inverse = fround(1 / (2 ** side.bits - 1));
  const clip = fround(side.clip);
  const atLeast = (scale: number) => Math.max(cacheHalf(scale), SMALLEST_HALF);
  if (side.quantiser === "zp") {
    const low = fround(lo * clip);
    const high = fround(hi * clip);
    const scale = atLeast(fround(fround(high - low) * inverse));
    const zero = Math.min(Math.max(Math.sign(-low) * nearestEven(Math.abs(low) / scale), -65536), 65536);
    return { scale, offset: cacheHalf(fround(-zero * scale)) };
  }
  const range = fround(hi - lo);
  const cut = fround(fround(range * 0.5) * fround(1 - clip));
  return { scale: atLeast(fround(fround(range * clip) * inverse)), offset: cacheHalf(fround(lo + cut)) };
}

export function parameterWord(scale: number, offset: number): number {
  return (cacheHalfBits(scale) | (cacheHalfBits(offset) << 16)) >>> 0;
}

export function codeOf(x: number, scale: number, offset: number, bits: CodeBits): number {
  const delta = fround(x - offset);
  let code = 0;
  for (let k = 1; k < 2 ** bits; k += 1) if (delta >= (k - 0.5) * scale) code += 1;
  return code;
}

/** A row's codes as words. */
export function packCodes(codes: ArrayLike<number>, bits: CodeBits): Uint32Array {
  const words = new Uint32Array(rowWords(bits, codes.length));
  const put = (first: number, width: number, i: number, code: number) => {
    const word = first + Math.floor((i * width) / 32);
    words[word] = words[word]! | (code << ((i * width) % 32));
  };
  for (let i = 0; i < codes.length; i += 1) {
    const code = codes[i]!;
    if (bits !== 3) put(0, bits, i, code);
    else {
      put(0, 2, i, code & 3);
      put(Math.ceil(codes.length / 16), 1, i, code >> 2);
    }
  }
  return words;
}

/** Code i of the row whose words begin at `first`. */
export function codeAt(words: Uint32Array, first: number, i: number, bits: CodeBits, headDim: number): number {
  const get = (at: number, width: number) =>
    (words[at + Math.floor((i * width) / 32)]! >>> ((i * width) % 32)) & (2 ** width - 1);
  if (bits !== 3) return get(first, bits);
  return get(first, 2) | (get(first + Math.ceil(headDim / 16), 1) << 2);
}

/** Σ of a row in the order that both devices keep. */
export function rowSum(terms: Float32Array): number {
  const partial = new Float32Array(16);
  terms.forEach((term, c) => {
    partial[c % 16] = partial[c % 16]! + term;
  });
  for (const distance of [4, 8, 2, 1]) {
    const before = partial.slice();
    for (let i = 0; i < 16; i += 1) partial[i] = before[i]! + before[i ^ distance]!;
  }
  return partial[0]!;
}

/** f16 bits of the row's root mean square. */
export function rowRms(row: Float32Array): number {
  const squares = row.map((x) => fround(x * x));
  return cacheHalfBits(Math.sqrt(fround(rowSum(squares) * fround(1 / row.length))));
}

/** One row of one head in layout "token", or its codes and norm in layout "channel". */
export interface PackedRow {
  readonly words: Uint32Array;
  /** Layout "token", not levels or even steps: a word a group. */
  readonly params: Uint32Array;
  /** f16 bits: the norm, the scale of levels, or one a group; empty where there are none. */
  readonly scales: readonly number[];
}

/** What the group quantiser sees of a row: sanitised, and divided by its norm where the format says so. */
export function quantiserInput(row: ArrayLike<number>, side: SideFormat): { row: Float32Array; norm?: number } {
  const input = Float32Array.from({ length: row.length }, (_, c) => sanitised(row[c]!));
  if (!side.norm) return { row: input };
  const norm = rowRms(input);
  const divisor = Math.max(cacheHalfValue(norm), SMALLEST_HALF);
  return { row: input.map((x) => fround(x / divisor)), norm };
}

/** Packs a row of D channels in layout "token". */
export function packRow(values: ArrayLike<number>, side: SideFormat): PackedRow {
  const { row, norm } = quantiserInput(values, side);
  if (!hasParams(side)) return packLevels(row, side);
  const groups = row.length / side.group;
  const codes = new Uint8Array(row.length);
  const params = new Uint32Array(groups);
  for (let group = 0; group < groups; group += 1) {
    const part = row.subarray(group * side.group, (group + 1) * side.group);
    const { scale, offset } = groupParameters(Math.min(...part), Math.max(...part), side);
    part.forEach((x, i) => {
      codes[group * side.group + i] = codeOf(x, scale, offset, side.bits);
    });
    params[group] = parameterWord(scale, offset);
  }
  return { words: packCodes(codes, side.bits), params, scales: listed(norm) };
}

function packLevels(row: Float32Array, side: SideFormat): PackedRow {
  const { group, bits } = side;
  const parts = Array.from({ length: row.length / group }, (_, j) =>
    levelsOfGroup(row.subarray(j * group, (j + 1) * group), side),
  );
  return {
    words: packCodes(
      parts.flatMap(({ codes }) => [...codes]),
      bits,
    ),
    params: new Uint32Array(0),
    scales: parts.map(({ scale }) => scale),
  };
}

function levelsOfGroup(x: Float32Array, side: SideFormat): { codes: Uint8Array; scale: number } {
  const { levels, thresholds } = levelsOf(side);
  const rms = cacheHalfValue(rowRms(x));
  const codes = Uint8Array.from(x, (value) => thresholds.reduce((q, t) => (value >= fround(t * rms) ? q + 1 : q), 0));
  const level = Float32Array.from(codes, (code) => levels[code]!);
  const products = rowSum(x.map((value, c) => fround(value * level[c]!)));
  const squares = rowSum((side.unbiased ? x : level).map((value) => fround(value * value)));
  // A group of zeros has no direction: 0/0, and a half of 0.
  return { codes, scale: cacheHalfBits(side.unbiased ? squares / products : products / squares) };
}

function listed(half: number | undefined): readonly number[] {
  return half === undefined ? [] : [half];
}

/** A block of g rows of one head in layout "channel": each row's words and norm, and a parameter word a channel. */
export function packBlock(
  rows: readonly ArrayLike<number>[],
  side: SideFormat,
): { rows: PackedRow[]; params: Uint32Array } {
  const inputs = rows.map((row) => quantiserInput(row, side));
  const headDim = rows[0]!.length;
  const params = new Uint32Array(headDim);
  const codes = rows.map(() => new Uint8Array(headDim));
  for (let c = 0; c < headDim; c += 1) {
    const column = inputs.map(({ row }) => row[c]!);
    const { scale, offset } = groupParameters(Math.min(...column), Math.max(...column), side);
    column.forEach((x, i) => {
      codes[i]![c] = codeOf(x, scale, offset, side.bits);
    });
    params[c] = parameterWord(scale, offset);
  }
  return {
    rows: codes.map((row, i) => ({
      words: packCodes(row, side.bits),
      params: new Uint32Array(0),
      scales: listed(inputs[i]!.norm),
    })),
    params,
  };
}
