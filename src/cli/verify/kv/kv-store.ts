/** A packed store of one sequence on a device, its contents read back, and the steps that fill and ask it. */
import type { Device } from "../../../device/index.js";
import {
  blockTokens,
  PACKED_PAGE_TOKENS,
  type PackedFormat,
  type PackedPages,
  packRows,
  pageSections,
  ringTokens,
  type SideFormat,
  type Step,
} from "../../../ops/index.js";
import { readRow, rowParameters } from "../../../ops/packed-kv/page-image.reference.js";
import { cacheHalfValue } from "../../../ops/packed-kv/quantiser.reference.js";
import { empty, upload, zeros } from "../../../tensor/index.js";

export interface StoreSettings {
  readonly format: PackedFormat;
  /** Tokens that it has pages for. */
  readonly tokens: number;
  /** Tokens that stay in 16 bits for what they are; others that attention must not read from their slots. */
  readonly marked?: readonly number[];
  readonly skipped?: readonly number[];
  /** f32 [G, D], and whole: all pairs are kept. */
  readonly mean?: Float32Array;
  readonly order?: Int32Array;
}

/** An empty store of one slot. Its tensors belong to the scope. */
export function makeStore(device: Device, o: StoreSettings): PackedPages {
  const { format, tokens, marked = [], skipped = [], mean, order } = o;
  const { kvHeads, headDim, sinks } = format;
  const pages = Math.ceil(tokens / PACKED_PAGE_TOKENS);
  const entries = sinks + ringTokens(format) + format.marked;
  const words = (side: SideFormat) => pageSections(side, kvHeads, headDim).words;
  const block = blockTokens(format);
  const skips = new Uint32Array(Math.ceil(tokens / 32));
  for (const j of [...marked, ...skipped]) skips[j >> 5]! |= 1 << (j & 31);
  const isBlocked = format.keys.layout === "channel";
  return {
    format,
    segments: [
      {
        keys: zeros(device, [pages, words(format.keys)], "u32"),
        values: zeros(device, [pages, words(format.values)], "u32"),
        firstPage: 0,
        pages,
      },
    ],
    pageTable: upload(
      device,
      Int32Array.from({ length: pages }, (_, i) => i),
      [1, pages],
      "i32",
    ),
    side: entries > 0 ? zeros(device, [1, entries, kvHeads * headDim], "u32") : undefined,
    cuts: upload(device, Int32Array.of(0, -sinks), [1, 2], "i32"),
    blocks: isBlocked
      ? upload(
          device,
          Int32Array.from({ length: 2 * Math.ceil(tokens / block) }, (_, i) =>
            i & 1 ? block : sinks + (i / 2) * block,
          ),
          [1, Math.ceil(tokens / block), 2],
          "i32",
        )
      : undefined,
    markedTokens: format.marked > 0 ? upload(device, [...marked], [1, format.marked], "i32") : undefined,
    skips: isBlocked ? undefined : upload(device, skips, [1, skips.length], "u32"),
    order: order && upload(device, order, [kvHeads * headDim], "i32"),
    mean: mean && upload(device, mean, [kvHeads, headDim]),
    pairs:
      format.meanPairs > 0
        ? upload(
            device,
            Int32Array.from({ length: kvHeads * format.meanPairs }, (_, i) => i % format.meanPairs),
            [kvHeads, format.meanPairs],
            "i32",
          )
        : undefined,
  };
}

/** A step of one row for each entry of `rows`, all of slot 0; positions follow `past` unless given. */
export function makeStep(
  device: Device,
  rows: readonly { readonly past: number; readonly count: number; readonly position?: number }[],
  isDecode: boolean,
): Step {
  const tokens = rows.flatMap(({ past, count, position = past }, r) =>
    Array.from({ length: count }, (_, i) => [0, position + i, r, 0]),
  );
  let firstToken = 0;
  const words = rows.flatMap(({ past, count }) => {
    firstToken += count;
    return [firstToken - count, count, 0, past];
  });
  return {
    tokens: upload(device, tokens.flat(), [tokens.length, 4], "i32"),
    rows: upload(device, words, [rows.length, 4], "i32"),
    tiles: isDecode ? undefined : empty(device, [0, 2], "i32"),
    tokenCount: tokens.length,
    rowCount: rows.length,
    isDecode,
    lengthBound: Math.max(...rows.map(({ past, count }) => past + count)),
  };
}

/** A store's contents on the host. */
export class StoreContents {
  private constructor(
    private readonly format: PackedFormat,
    readonly keys: Uint32Array,
    readonly values: Uint32Array,
    private readonly side: Uint32Array,
  ) {}

  static async read({ format, segments, side }: PackedPages): Promise<StoreContents> {
    const { keys, values } = segments[0]!;
    // The tensors' types are u32.
    const read = async (tensor: typeof keys) => (await tensor.read()) as Uint32Array;
    return new StoreContents(
      format,
      await read(keys),
      await read(values),
      side ? await read(side) : new Uint32Array(0),
    );
  }

  private page(which: "keys" | "values", slot: number): Uint32Array {
    const size = pageSections(this.format[which], this.format.kvHeads, this.format.headDim).words;
    const index = Math.floor(slot / PACKED_PAGE_TOKENS);
    return this[which].subarray(index * size, (index + 1) * size);
  }

  private shape(which: "keys" | "values") {
    const { kvHeads, headDim } = this.format;
    return { side: this.format[which], kvHeads, headDim };
  }

  /** Code words of a token slot's head. */
  words(which: "keys" | "values", slot: number, head: number): Uint32Array {
    const { rowWords } = pageSections(this.format[which], this.format.kvHeads, this.format.headDim);
    const line = head * PACKED_PAGE_TOKENS + (slot % PACKED_PAGE_TOKENS);
    return this.page(which, slot).subarray(line * rowWords, (line + 1) * rowWords);
  }

  /** Parameter words of a token slot's head: a word a group, or (layout "channel") a word a channel of its block. */
  parameters(which: "keys" | "values", slot: number, head: number): Uint32Array {
    return rowParameters(this.page(which, slot), this.shape(which), head, slot % PACKED_PAGE_TOKENS);
  }

  /** f16 bits of a token slot's norm or scale. */
  scale(which: "keys" | "values", slot: number, head: number): number {
    const at = pageSections(this.format[which], this.format.kvHeads, this.format.headDim);
    const line = head * PACKED_PAGE_TOKENS + (slot % PACKED_PAGE_TOKENS);
    return (this.page(which, slot)[at.scales + (line >> 1)]! >>> (16 * (line & 1))) & 0xffff;
  }

  /** The dequantised row of a token slot's head. */
  row(which: "keys" | "values", slot: number, head: number): Float64Array {
    return readRow(this.page(which, slot), this.shape(which), head, slot % PACKED_PAGE_TOKENS);
  }

  /** A head of a side entry. */
  entry(which: "keys" | "values", index: number, head: number): Float64Array {
    const { kvHeads, headDim } = this.format;
    const first = (index * 2 + (which === "keys" ? 0 : 1)) * kvHeads * headDim + head * headDim;
    return Float64Array.from({ length: headDim }, (_, c) =>
      cacheHalfValue((this.side[(first + c) >> 1]! >>> (16 * ((first + c) & 1))) & 0xffff),
    );
  }
}

/** Packs rows [T, G·D], the quantisers' inputs, into an empty store. */
export async function packedRows(
  device: Device,
  format: PackedFormat,
  keys: Float32Array,
  values: Float32Array,
): Promise<StoreContents> {
  const channels = format.kvHeads * format.headDim;
  const tokens = keys.length / channels;
  return device.scope(async () => {
    const store = makeStore(device, { format, tokens });
    const shape = [tokens, channels];
    const step = makeStep(device, [{ past: 0, count: tokens }], false);
    packRows(upload(device, keys, shape), upload(device, values, shape), store, step);
    return await StoreContents.read(store);
  });
}
