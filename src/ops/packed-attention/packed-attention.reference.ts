/** Attention over packed bytes in float64, slow and obvious: see packed-attention.ts for the rule and the formula. */
import { halfValue } from "../matmul/weights/f16.js";
import {
  PACKED_PAGE_TOKENS,
  type PackedFormat,
  packedEnd,
  pageSections,
  ringTokens,
  type SideFormat,
} from "../packed-kv/format.js";

/** What one store's tensors hold; all pages of all segments in the order of their numbers. */
export interface PackedStoreBytes {
  readonly format: PackedFormat;
  readonly keys: Uint32Array;
  readonly values: Uint32Array;
  readonly pageTable: Int32Array;
  readonly pagesPerSlot: number;
  readonly side?: Uint32Array | undefined;
  readonly cuts: Int32Array;
  readonly blocks?: Int32Array | undefined;
  readonly blocksPerSlot?: number;
  readonly markedTokens?: Int32Array | undefined;
  readonly skips?: Uint32Array | undefined;
  readonly skipWords?: number;
  readonly order?: Int32Array | undefined;
  readonly pairs?: Int32Array | undefined;
}

export interface RotaryFrequencies {
  readonly inverse: ArrayLike<number>;
  readonly attentionFactor: number;
}

export interface PackedAttentionReferenceInput {
  readonly heads: number;
  readonly scale: number;
  readonly window?: number | undefined;
  /** [T, (H + 2G)·D] as `prepareKv` left it. */
  readonly qkv: ArrayLike<number>;
  readonly meanTerms?: ArrayLike<number> | undefined;
  /** [G, D] */
  readonly valueMean?: ArrayLike<number> | undefined;
  readonly rope?: RotaryFrequencies | undefined;
  readonly stores: readonly PackedStoreBytes[];
  readonly rows: readonly { readonly slot: number; readonly past: number; readonly count: number }[];
}

/** Levels of a normal distribution (Lloyd–Max), ascending with the code, as f32. */
const lloydMax: Readonly<Record<number, readonly number[]>> = {
  2: [-1.5104, -0.4528, 0.4528, 1.5104].map(Math.fround),
  3: [-2.1519, -1.3439, -0.756, -0.2451, 0.2451, 0.756, 1.3439, 2.1519].map(Math.fround),
};

/** @returns [T, H·D] */
export function packedAttentionReference(o: PackedAttentionReferenceInput): Float64Array {
  const { kvHeads, headDim, valueRotation } = o.stores[0]!.format;
  const columns = o.heads + 2 * kvHeads;
  const tokens = o.rows.flatMap((row) => Array.from({ length: row.count }, (_, i) => ({ ...row, at: i })));
  const out = new Float64Array(tokens.length * o.heads * headDim);
  let firstToken = 0;
  tokens.forEach(({ slot, past, at }, t) => {
    if (at === 0) firstToken = t;
    if (slot < 0) return;
    const position = past + at;
    const lowest = Math.max(0, position - (o.window ?? Number.POSITIVE_INFINITY) + 1);
    const list = o.stores
      .flatMap((store, i) => visibleTokens(store, i === 0, slot, past, position))
      .filter(({ token }) => token >= lowest);
    for (let h = 0; h < o.heads; h += 1) {
      const g = Math.floor((h * kvHeads) / o.heads);
      const head = (token: number, column: number) =>
        Float64Array.from({ length: headDim }, (_, c) => o.qkv[(token * columns + column) * headDim + c]!);
      const q = head(t, h);
      const seen = list.map((entry) => {
        if (entry.from === "own") {
          const own = firstToken + entry.token - past;
          return { key: head(own, o.heads + g), value: head(own, o.heads + kvHeads + g), extra: 0 };
        }
        if (entry.from === "side") return { ...sideEntry(entry.store, slot, entry.index, g), extra: 0 };
        const { store, index, token } = entry;
        const extra = store.format.meanPairs > 0 ? meanTerm(o, store.format, store, t, h, g, token) : 0;
        return { ...packedEntry(store, slot, index, g, token, o.rope), extra };
      });
      const scores = seen.map(({ key, extra }) => o.scale * (key.reduce((sum, k, c) => sum + k * q[c]!, 0) + extra));
      const most = Math.max(...scores);
      const weights = scores.map((s) => Math.exp(s - most));
      const total = weights.reduce((sum, w) => sum + w, 0);
      const result = new Float64Array(headDim);
      seen.forEach(({ value }, i) => {
        for (let c = 0; c < headDim; c += 1) result[c]! += (weights[i]! / total) * value[c]!;
      });
      const turned = valueRotation > 1 ? hadamard(result, valueRotation) : result;
      out.set(
        turned.map((x, c) => x + (o.valueMean?.[g * headDim + c] ?? 0)),
        (t * o.heads + h) * headDim,
      );
    }
  });
  return out;
}

type Visible =
  | {
      readonly from: "packed" | "side";
      readonly store: PackedStoreBytes;
      readonly index: number;
      readonly token: number;
    }
  | { readonly from: "own"; readonly token: number };

/** All that a token at `position` sees of a store, the window aside. */
export function visibleTokens(
  store: PackedStoreBytes,
  isFirst: boolean,
  slot: number,
  past: number,
  position: number,
): Visible[] {
  const { format, cuts, blocks, blocksPerSlot = 0, markedTokens, skips, skipWords = 0 } = store;
  const { sinks, marked } = format;
  const end = packedEnd(format, format.strictPrefill ? position : past, cuts[2 * slot]!);
  const isSkipped = (j: number) => {
    const word = skips?.[slot * skipWords + Math.floor(j / 32)] ?? 0;
    return ((word >>> (j % 32)) & 1) === 1;
  };
  const list: Visible[] = [];
  const packed = new Set<number>();
  const add = (token: number, index: number) => {
    if (token < sinks || token >= end || isSkipped(token)) return;
    packed.add(token);
    list.push({ from: "packed", store, index, token });
  };
  if (format.keys.layout === "token") for (let j = 0; j < end; j += 1) add(j, j);
  else {
    const g = format.keys.group;
    for (let m = 0; m * g < end + cuts[2 * slot + 1]!; m += 1) {
      const first = blocks![(slot * blocksPerSlot + m) * 2]!;
      const count = blocks![(slot * blocksPerSlot + m) * 2 + 1]!;
      for (let i = 0; i < count; i += 1) add(first + i, m * g + i);
    }
  }
  if (!isFirst) return list;
  if (store.side) {
    const ring = ringTokens(format);
    for (let j = 0; j < Math.min(sinks, past); j += 1) list.push({ from: "side", store, index: j, token: j });
    for (let j = Math.max(end, sinks); j < past; j += 1) {
      list.push({ from: "side", store, index: sinks + (j % ring), token: j });
    }
    for (let i = 0; i < marked; i += 1) {
      const token = markedTokens![slot * marked + i]!;
      if (token >= sinks && token < end && token < past) {
        list.push({ from: "side", store, index: sinks + ring + i, token });
      }
    }
  }
  for (let token = past; token <= position; token += 1) {
    if (token >= end || token < sinks || isSkipped(token)) list.push({ from: "own", token });
  }
  return list;
}

interface Entry {
  readonly key: Float64Array;
  readonly value: Float64Array;
}

function sideEntry({ format, side }: PackedStoreBytes, slot: number, index: number, g: number): Entry {
  const { kvHeads, headDim, sinks, marked } = format;
  const entries = sinks + ringTokens(format) + marked;
  const half = (which: number) =>
    Float64Array.from({ length: headDim }, (_, c) => {
      const at = (which * kvHeads + g) * headDim + c;
      const word = side![(slot * entries + index) * kvHeads * headDim + (at >> 1)]!;
      return halfValue(at % 2 === 0 ? word & 0xffff : word >>> 16);
    });
  return { key: half(0), value: half(1) };
}

function packedEntry(
  store: PackedStoreBytes,
  slot: number,
  tokenSlot: number,
  g: number,
  position: number,
  rope: RotaryFrequencies | undefined,
): Entry {
  const { format, pageTable, pagesPerSlot } = store;
  const { kvHeads, headDim, keys, values } = format;
  const page = pageTable[slot * pagesPerSlot + Math.floor(tokenSlot / PACKED_PAGE_TOKENS)]!;
  const at = tokenSlot % PACKED_PAGE_TOKENS;
  const rowOf = (side: SideFormat, words: Uint32Array, head: number) => {
    const { words: size } = pageSections(side, kvHeads, headDim);
    return unpackedRow(side, words.subarray(page * size, (page + 1) * size), kvHeads, headDim, head, at);
  };
  const value = rowOf(values, store.values, g);
  if (!format.ropeAtRead) return { key: rowOf(keys, store.keys, g), value };
  const stored = Array.from({ length: kvHeads }, (_, head) => [...rowOf(keys, store.keys, head)]).flat();
  let row: Float64Array = Float64Array.from(stored);
  if (format.ordered) {
    for (let j = 0; j < stored.length; j += 1) row[store.order![j]!] = stored[j]!;
  }
  if (format.keyRotation > 1) row = hadamard(row, format.keyRotation);
  return { key: rotary(row.slice(g * headDim, (g + 1) * headDim), position, rope!), value };
}

/** The D numbers that a row of codes stands for: head `head`, token slot `at` of a page. */
export function unpackedRow(
  side: SideFormat,
  page: Uint32Array,
  kvHeads: number,
  headDim: number,
  head: number,
  at: number,
): Float64Array {
  const { bits, group, layout, quantiser, norm } = side;
  const sections = pageSections(side, kvHeads, headDim);
  const row = (head * PACKED_PAGE_TOKENS + at) * sections.rowWords;
  const field = (firstWord: number, width: number, c: number) => {
    const perWord = 32 / width;
    return (page[row + firstWord + Math.floor(c / perWord)]! >>> (width * (c % perWord))) & ((1 << width) - 1);
  };
  const code = (c: number) =>
    bits === 3 ? field(0, 2, c) | (field(Math.ceil(headDim / 16), 1, c) << 2) : field(0, bits, c);
  const token = head * PACKED_PAGE_TOKENS + at;
  const scale = (i: number) => {
    const word = page[sections.scales + (i >> 1)]!;
    return halfValue(i % 2 === 0 ? word & 0xffff : word >>> 16);
  };
  return Float64Array.from({ length: headDim }, (_, c) => {
    if (quantiser === "levels") return scale(token) * lloydMax[bits]![code(c)]!;
    const ofToken = token * (headDim / group) + Math.floor(c / group);
    if (quantiser === "even") return scale(ofToken) * (code(c) - (2 ** bits - 1) / 2);
    const param =
      layout === "token" ? ofToken : (head * (PACKED_PAGE_TOKENS / group) + Math.floor(at / group)) * headDim + c;
    const word = page[sections.params + param]!;
    const x = halfValue(word & 0xffff) * code(c) + halfValue(word >>> 16);
    return norm ? scale(token) * x : x;
  });
}

/** scale is applied by the caller: Σ A cos(p θ) + B sin(p θ) over the kept pairs. */
function meanTerm(
  o: PackedAttentionReferenceInput,
  format: PackedFormat,
  store: PackedStoreBytes,
  t: number,
  h: number,
  g: number,
  position: number,
): number {
  const { meanPairs } = format;
  let sum = 0;
  for (let m = 0; m < meanPairs; m += 1) {
    const angle = position * o.rope!.inverse[store.pairs![g * meanPairs + m]!]!;
    const at = ((t * o.heads + h) * meanPairs + m) * 2;
    sum += o.meanTerms![at]! * Math.cos(angle) + o.meanTerms![at + 1]! * Math.sin(angle);
  }
  return o.rope!.attentionFactor * sum;
}

function rotary(x: Float64Array, position: number, { inverse, attentionFactor }: RotaryFrequencies): Float64Array {
  const half = inverse.length;
  const y = x.slice();
  for (let i = 0; i < half; i += 1) {
    const cosine = attentionFactor * Math.cos(position * inverse[i]!);
    const sine = attentionFactor * Math.sin(position * inverse[i]!);
    y[i] = x[i]! * cosine - x[i + half]! * sine;
    y[i + half] = x[i + half]! * cosine + x[i]! * sine;
  }
  return y;
}

/** Orthonormal Sylvester–Hadamard transform of blocks along x. */
export function hadamard(x: Float64Array, block: number): Float64Array {
  const y = x.slice();
  for (let h = 1; h < block; h *= 2) {
    for (let i = 0; i < y.length; i += 1) {
      if ((i & h) !== 0) continue;
      const [a, b] = [y[i]!, y[i + h]!];
      y[i] = a + b;
      y[i + h] = a - b;
    }
  }
  return y.map((value) => value / Math.sqrt(block));
}
