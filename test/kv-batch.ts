/** Batches, step buffers and paged caches for tests of the operations that read and write cache pages. */
import type { Device } from "../src/device/index.js";
import { type KvPages, PAGE_TOKENS } from "../src/ops/attention/kv-pages.js";
import { QUERY_TILE, type Step } from "../src/ops/step/layout.js";
import { upload } from "../src/tensor/index.js";

export type KvDType = KvPages["dtype"];

/** Seeded numbers, uniform in [−1, 1), exact in float32. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let x = state;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return ((x ^ (x >>> 16)) >>> 8) * 2 ** -23 - 1;
  };
}

export function randomArray(length: number, seed: number, scale = 1): Float32Array {
  const next = random(seed);
  return Float32Array.from({ length }, () => scale * next());
}

export interface BatchRow {
  /** −1: a dead row. */
  readonly slot: number;
  readonly past: number;
  readonly count: number;
}

export interface StepOptions {
  readonly isDecode?: boolean;
  readonly lengthBound?: number;
}

/** The words of a step's buffers. */
export function stepWords(rows: readonly BatchRow[]): { tokens: number[]; rows: number[]; tiles: number[] } {
  const words = { tokens: [] as number[], rows: [] as number[], tiles: [] as number[] };
  let first = 0;
  rows.forEach(({ slot, past, count }, r) => {
    for (let i = 0; i < count; i += 1) words.tokens.push(7, past + i, r, slot);
    words.rows.push(first, count, slot, past);
    for (let i = 0; i < count; i += QUERY_TILE) words.tiles.push(r, first + i);
    first += count;
  });
  return words;
}

export function makeStep(device: Device, rows: readonly BatchRow[], o: StepOptions = {}): Step {
  const words = stepWords(rows);
  const tokenCount = words.tokens.length / 4;
  return {
    tokens: upload(device, words.tokens, [tokenCount, 4], "i32"),
    rows: upload(device, words.rows, [rows.length, 4], "i32"),
    tiles: o.isDecode ? undefined : upload(device, words.tiles, [words.tiles.length / 2, 2], "i32"),
    tokenCount,
    rowCount: rows.length,
    isDecode: o.isDecode ?? false,
    lengthBound: o.lengthBound ?? Math.max(...rows.map((row) => row.past + row.count)),
  };
}

/** The nearest number of a storage type, ties to even. */
export function rounded(x: number, dtype: KvDType): number {
  if (dtype === "f32") return Math.fround(x);
  if (x === 0 || !Number.isFinite(x)) return x;
  const lowest = dtype === "f16" ? -14 : -126;
  const digits = dtype === "f16" ? 10 : 7;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(x))), lowest);
  const unit = 2 ** (exponent - digits);
  const quotient = x / unit;
  const floor = Math.floor(quotient);
  const up = quotient - floor > 0.5 || (quotient - floor === 0.5 && floor % 2 !== 0);
  const result = (up ? floor + 1 : floor) * unit;
  const limit = dtype === "f16" ? 65504 : 3.3895313892515355e38;
  return Math.abs(result) > limit ? Math.sign(x) * Number.POSITIVE_INFINITY : result;
}

/** Bits of a number that the type holds exactly. */
export function bitsOf(x: number, dtype: "f16" | "bf16"): number {
  if (dtype === "bf16") return new Uint32Array(Float32Array.of(x).buffer)[0]! >>> 16;
  if (Number.isNaN(x)) return 0x7e00;
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const size = Math.abs(x);
  if (size === Number.POSITIVE_INFINITY) return sign | 0x7c00;
  if (size < 2 ** -14) return sign | (size * 2 ** 24);
  const exponent = Math.floor(Math.log2(size));
  return sign | ((exponent + 15) << 10) | ((size / 2 ** exponent - 1) * 1024);
}

/** The number that stored bits (16-bit types) or a stored float stand for. */
export function storedValue(stored: number, dtype: KvDType): number {
  if (dtype === "f32") return stored;
  if (dtype === "bf16") return new Float32Array(Uint32Array.of(stored << 16).buffer)[0]!;
  const sign = stored & 0x8000 ? -1 : 1;
  const exponent = (stored >> 10) & 31;
  const fraction = stored & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

export interface CacheShape {
  readonly dtype: KvDType;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Pages of each segment. */
  readonly segments: readonly number[];
  /** Positions that each slot has pages for. */
  readonly lengths: readonly number[];
  readonly seed: number;
  /** Keys and values of each slot, [length, G, D]; positions that are not given hold NaN. */
  readonly contents?: readonly { readonly keys: ArrayLike<number>; readonly values: ArrayLike<number> }[];
}

/** The page of each slot's 64 positions, in shuffled order, −1 behind the last. */
export function shuffledTable(shape: CacheShape): { table: Int32Array; pagesPerSlot: number } {
  const total = shape.segments.reduce((sum, pages) => sum + pages, 0);
  const order = Array.from({ length: total }, (_, i) => i);
  const next = random(shape.seed);
  for (let i = total - 1; i > 0; i -= 1) {
    const j = Math.floor(((next() + 1) / 2) * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  const counts = shape.lengths.map((length) => Math.ceil(length / PAGE_TOKENS));
  const pagesPerSlot = Math.max(...counts) + 1;
  const table = new Int32Array(counts.length * pagesPerSlot).fill(-1);
  counts.forEach((count, slot) => {
    for (let i = 0; i < count; i += 1) table[slot * pagesPerSlot + i] = order.pop() ?? fail();
  });
  return { table, pagesPerSlot };
}

function fail(): never {
  throw new RangeError("test: the segments have too few pages");
}

/** A cache on the device. */
export function makePages(device: Device, shape: CacheShape): KvPages {
  const { dtype, kvHeads, headDim } = shape;
  const { table, pagesPerSlot } = shuffledTable(shape);
  const total = shape.segments.reduce((sum, pages) => sum + pages, 0);
  const pageSize = kvHeads * PAGE_TOKENS * headDim;
  const fill = (which: "keys" | "values") => {
    const data = dtype === "f32" ? new Float32Array(total * pageSize) : new Uint16Array(total * pageSize);
    data.fill(dtype === "f32" ? Number.NaN : dtype === "f16" ? 0x7e00 : 0x7fc0);
    shape.contents?.forEach((content, slot) => {
      const source = content[which];
      for (let i = 0; i < source.length; i += 1) {
        const c = i % headDim;
        const head = Math.floor(i / headDim) % kvHeads;
        const position = Math.floor(i / headDim / kvHeads);
        const page = table[slot * pagesPerSlot + Math.floor(position / PAGE_TOKENS)]!;
        const at = page * pageSize + (head * PAGE_TOKENS + (position % PAGE_TOKENS)) * headDim + c;
        data[at] = dtype === "f32" ? source[i]! : bitsOf(source[i]!, dtype);
      }
    });
    return data;
  };
  const [keys, values] = [fill("keys"), fill("values")];
  let firstPage = 0;
  const segments = shape.segments.map((pages) => {
    const part = (data: Float32Array | Uint16Array) =>
      upload(
        device,
        data.slice(firstPage * pageSize, (firstPage + pages) * pageSize),
        [pages, kvHeads, PAGE_TOKENS, headDim],
        dtype,
      );
    const segment = { keys: part(keys), values: part(values), firstPage, pages };
    firstPage += pages;
    return segment;
  });
  return {
    dtype,
    kvHeads,
    headDim,
    segments,
    pageTable: upload(device, table, [shape.lengths.length, pagesPerSlot], "i32"),
  };
}

/** What a cache holds for a slot's positions 0 … length − 1, [length, G, D]. */
export async function readPages(
  pages: KvPages,
  shape: CacheShape,
  slot: number,
  length: number,
): Promise<{ keys: Float64Array; values: Float64Array }> {
  const { table, pagesPerSlot } = shuffledTable(shape);
  const { kvHeads, headDim, dtype } = pages;
  const stored = await Promise.all(
    pages.segments.map(async (s) => ({ keys: await s.keys.read(), values: await s.values.read() })),
  );
  const gather = (which: "keys" | "values") =>
    Float64Array.from({ length: length * kvHeads * headDim }, (_, i) => {
      const c = i % headDim;
      const head = Math.floor(i / headDim) % kvHeads;
      const position = Math.floor(i / headDim / kvHeads);
      const page = table[slot * pagesPerSlot + Math.floor(position / PAGE_TOKENS)]!;
      const index = pages.segments.findIndex((s) => page >= s.firstPage && page < s.firstPage + s.pages);
      const line =
        ((page - pages.segments[index]!.firstPage) * kvHeads + head) * PAGE_TOKENS + (position % PAGE_TOKENS);
      return storedValue(stored[index]![which][line * headDim + c]!, dtype);
    });
  return { keys: gather("keys"), values: gather("values") };
}
