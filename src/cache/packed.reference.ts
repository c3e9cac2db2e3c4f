/**
 * A packed cache of one sequence in one layer, slow and obvious: a list of tokens, each with its exact key and value and,
 * once packed, with what its codes stand for. No pages, rings, tables or blocks; attention in float64.
 *
 * Axes  H query heads, G key/value heads, D head size, C channels of the residual stream.
 */
import { fwhtReference } from "../ops/fwht/fwht.reference.js";
import { hasParams, packedEnd, ringTokens, type SideFormat } from "../ops/packed-kv/format.js";
import { levelsOf } from "../ops/packed-kv/levels.js";
import {
  type MarkState,
  markDecodeReference,
  markRowReference,
  markState,
} from "../ops/packed-kv/mark-tokens.reference.js";
import { prepareReference } from "../ops/packed-kv/prepare.reference.js";
import {
  cacheHalf,
  cacheHalfValue,
  codeAt,
  type PackedRow,
  packBlock,
  packRow,
} from "../ops/packed-kv/quantiser.reference.js";
import { ropeAppendReference } from "../ops/rope-append/rope-append.reference.js";
import type { PackedRecipe } from "./recipe.js";

export interface PackedReferenceOptions {
  readonly heads: number;
  readonly scale: number;
  readonly window?: number;
  readonly rope: { readonly inverse: Float64Array; readonly attentionFactor: number };
}

interface Token {
  /** [G·D] in the domain of attention. */
  readonly key: Float64Array;
  readonly value: Float64Array;
  /** The quantiser's input. */
  readonly keyRow: Float64Array;
  /** Put back after dequantising. */
  readonly mean: Float64Array | undefined;
  packed: { readonly key: Float64Array; readonly value: Float64Array } | undefined;
}

export class PackedReference {
  private tokens: Token[] = [];
  private floor = 0;
  private marks: MarkState;

  constructor(
    private readonly recipe: PackedRecipe,
    private readonly o: PackedReferenceOptions,
  ) {
    this.marks = markState(recipe.format.marked);
  }

  get length(): number {
    return this.tokens.length;
  }

  /**
   * @param rows [(H + 2G)·D] a token, before rotary.
   * @param hidden [C] a token.
   * @returns [H·D] a token.
   */
  step(rows: readonly Float32Array[], hidden: readonly Float32Array[], isDecode: boolean): Float64Array[] {
    const { format, marks: rule } = this.recipe;
    const past = this.length;
    if (rule && isDecode) {
      const [row] = hidden;
      if (rule.kind === "tokens" && row) markDecodeReference(this.marks, row, past, rule);
    } else if (rule) markRowReference(this.marks, hidden, past, format.sinks, rule);
    const queries = this.take(rows);
    const isStrict = format.strictPrefill && !isDecode;
    if (isStrict) this.pack(past);
    const out = queries.map((q, i) => this.attend(q, past, past + i, isStrict));
    if (!isStrict) this.pack(past);
    return out;
  }

  trim(length: number): void {
    const { format } = this.recipe;
    if (packedEnd(format, this.length, this.floor) > length) this.floor = length <= format.sinks ? 0 : length;
    this.tokens = this.tokens.slice(0, length);
    this.marks.tokens.forEach((token, i) => {
      if (token >= length) this.marks.tokens[i] = -1;
    });
  }

  /** Prepares a step's rows and takes keys and values up; returns the queries. */
  private take(rows: readonly Float32Array[]): Float64Array[] {
    const { format, order, mean, valueMean } = this.recipe;
    const { kvHeads, headDim } = format;
    const { heads, rope } = this.o;
    const past = this.length;
    const width = (heads + 2 * kvHeads) * headDim;
    const qkv = Float32Array.from(rows.flatMap((row) => [...row]));
    const positions = rows.map((_, i) => past + i);
    const prepared = prepareReference({
      ...{ format, heads, kvHeads, headDim, qkv, positions, rope },
      ...(order ? { order } : {}),
      ...(mean ? { mean: mean.values, pairs: mean.pairs } : {}),
      ...(valueMean ? { valueMean } : {}),
    });
    // The mean as it is taken off: rotated by the token's position, then as keys are.
    const means =
      mean &&
      prepareReference({
        ...{
          format: { ...format, meanPairs: 0, valueRotation: 0, valueMean: false },
          heads: 0,
          kvHeads,
          headDim,
          positions,
          rope,
        },
        qkv: Float32Array.from(positions.flatMap(() => [...mean.values, ...mean.values])),
      }).qkv;
    const half = (x: Float64Array) => (ringTokens(format) > 0 ? x.map(cacheHalf) : x);
    const channels = kvHeads * headDim;
    return positions.map((_, t) => {
      const part = (from: number, to: number) => prepared.qkv.slice(t * width + from, t * width + to);
      const key = half(part(heads * headDim, heads * headDim + channels));
      const own = means?.slice(t * 2 * channels, t * 2 * channels + channels);
      this.tokens.push({
        key,
        value: half(part(heads * headDim + channels, width)),
        keyRow: prepared.keyRows
          ? this.unrotatedRow(key, past + t, prepared.keyRows.slice(t * channels, (t + 1) * channels))
          : key.map((x, c) => x - (own?.[c] ?? 0)),
        mean: own,
        packed: undefined,
      });
      return part(0, heads * headDim);
    });
  }

  /** Kinds with rotary at every read and a ring pack what the ring holds: rounded, rotary taken back. */
  private unrotatedRow(key: Float64Array, position: number, exact: Float64Array): Float64Array {
    const { format, order } = this.recipe;
    if (ringTokens(format) === 0) return exact;
    const { kvHeads, headDim, keyRotation } = format;
    const { rope } = this.o;
    const qkv = [...key, ...key];
    const plain = ropeAppendReference({ heads: 0, kvHeads, headDim, qkv, positions: [-position], rope });
    const keys = plain.slice(0, key.length).map((x) => x / rope.attentionFactor ** 2);
    const row = keyRotation > 0 ? fwhtReference(keys, keyRotation) : keys;
    return order ? row.map((_, j) => row[order[j]!]!) : row;
  }

  /** Packs what has become old enough since there were `past` tokens. */
  private pack(past: number): void {
    const { format } = this.recipe;
    const { keys, values, sinks } = format;
    const from = Math.max(packedEnd(format, past, this.floor), sinks);
    const to = packedEnd(format, this.length, this.floor);
    const block = keys.layout === "channel" ? keys.group : 1;
    for (let first = from; first < to; first += block) {
      const tokens = this.tokens.slice(first, first + block);
      const byHead = this.heads().map((head) =>
        dequantised(
          tokens.map((token) => head(token.keyRow)),
          keys,
        ),
      );
      tokens.forEach((token, i) => {
        const row = Float64Array.from(byHead.flatMap((rows) => [...(rows[i] ?? [])]));
        const value = this.heads().flatMap((head) => [...(dequantised([head(token.value)], values)[0] ?? [])]);
        token.packed = { key: this.attentionKey(row, token, first + i), value: Float64Array.from(value) };
      });
    }
  }

  private heads(): ((row: Float64Array) => Float64Array)[] {
    const { kvHeads, headDim } = this.recipe.format;
    return Array.from({ length: kvHeads }, (_, g) => (row) => row.slice(g * headDim, (g + 1) * headDim));
  }

  /** From the dequantised row to the key that q is multiplied with. */
  private attentionKey(row: Float64Array, { mean }: Token, position: number): Float64Array {
    const { format, order } = this.recipe;
    if (!format.ropeAtRead) return row.map((x, c) => x + (mean?.[c] ?? 0));
    let plain = row.slice();
    for (const [j, from] of order?.entries() ?? []) plain[from] = row[j]!;
    if (format.keyRotation > 0) plain = Float64Array.from(fwhtReference(plain, format.keyRotation));
    const { inverse, attentionFactor } = this.o.rope;
    return Float64Array.from(
      this.heads().flatMap((head) => {
        const x = head(plain);
        const y = x.slice();
        inverse.forEach((frequency, i) => {
          const j = i + inverse.length;
          const [cosine, sine] = [Math.cos(position * frequency), Math.sin(position * frequency)];
          y[i] = attentionFactor * (x[i]! * cosine - x[j]! * sine);
          y[j] = attentionFactor * (x[j]! * cosine + x[i]! * sine);
        });
        return [...y];
      }),
    );
  }

  private attend(q: Float64Array, past: number, position: number, isStrict: boolean): Float64Array {
    const { format } = this.recipe;
    const { kvHeads, headDim, sinks, valueRotation } = format;
    const { heads, scale, window = Number.POSITIVE_INFINITY } = this.o;
    const end = packedEnd(format, isStrict ? position : past, this.floor);
    const seen = this.tokens.slice(0, position + 1).flatMap((token, j) => {
      if (j <= position - window) return [];
      if (j >= sinks && j < end && !this.marks.tokens.includes(j) && token.packed) return [token.packed];
      return [j < past ? { key: token.key.map(cacheHalf), value: token.value.map(cacheHalf) } : token];
    });
    const out = new Float64Array(heads * headDim);
    for (let h = 0; h < heads; h++) {
      const g = Math.floor((h * kvHeads) / heads) * headDim;
      const dot = ({ key }: { key: Float64Array }) => {
        let sum = 0;
        for (let c = 0; c < headDim; c++) sum += q[h * headDim + c]! * key[g + c]!;
        return scale * sum;
      };
      const scores = seen.map(dot);
      const most = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - most));
      const total = weights.reduce((a, b) => a + b, 0);
      const result = new Float64Array(headDim);
      seen.forEach(({ value }, i) => {
        for (let c = 0; c < headDim; c++) result[c]! += (weights[i]! / total) * value[g + c]!;
      });
      const turned = valueRotation > 0 ? fwhtReference(result, valueRotation) : result;
      for (let c = 0; c < headDim; c++) out[h * headDim + c] = turned[c]! + (this.recipe.valueMean?.[g + c] ?? 0);
    }
    return out;
  }
}

/** What the codes of rows stand for: one row alone, or a block of them by channels. */
function dequantised(rows: readonly Float64Array[], side: SideFormat): Float64Array[] {
  const packed: { rows: readonly PackedRow[]; params?: Uint32Array } =
    side.layout === "channel" ? packBlock(rows, side) : { rows: rows.map((row) => packRow(row, side)) };
  return packed.rows.map((row, i) => {
    const headDim = rows[i]?.length ?? 0;
    const scale = (j: number) => cacheHalfValue(row.scales[j] ?? 0);
    return Float64Array.from({ length: headDim }, (_, c) => {
      const code = codeAt(row.words, 0, c, side.bits, headDim);
      if (!hasParams(side)) return scale(Math.floor(c / side.group)) * levelsOf(side).levels[code]!;
      const word = packed.params ? packed.params[c]! : row.params[Math.floor(c / side.group)]!;
      const x = cacheHalfValue(word & 0xffff) * code + cacheHalfValue(word >>> 16);
      return side.norm ? scale(0) * x : x;
    });
  });
}
