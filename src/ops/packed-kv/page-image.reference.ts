/** Rows in and out of the words of a page: see format.ts for the sections. Slow and obvious. */
import { hasParams, PACKED_PAGE_TOKENS, type PackedFormat, pageSections, type SideFormat } from "./format.js";
import { levelsOf } from "./levels.js";
import { cacheHalfValue, codeAt, type PackedRow } from "./quantiser.reference.js";

/** What says where things are in a page of one side. */
export interface PageShape {
  readonly side: SideFormat;
  readonly kvHeads: number;
  readonly headDim: number;
}

export function keyPage(format: PackedFormat): PageShape {
  return { side: format.keys, kvHeads: format.kvHeads, headDim: format.headDim };
}

export function valuePage(format: PackedFormat): PageShape {
  return { side: format.values, kvHeads: format.kvHeads, headDim: format.headDim };
}

export function emptyPage(shape: PageShape): Uint32Array {
  return new Uint32Array(pageSections(shape.side, shape.kvHeads, shape.headDim).words);
}

/** Writes a row's codes, its parameters (layout "token") and its scales to token slot `slot` (0 … 127) of head `head`. */
export function writeRow(page: Uint32Array, shape: PageShape, head: number, slot: number, row: PackedRow): void {
  const { side, kvHeads, headDim } = shape;
  const at = pageSections(side, kvHeads, headDim);
  const line = head * PACKED_PAGE_TOKENS + slot;
  page.set(row.words, line * at.rowWords);
  if (row.params.length > 0) page.set(row.params, at.params + line * row.params.length);
  row.scales.forEach((scale, j) => {
    const half = line * row.scales.length + j;
    const word = at.scales + (half >> 1);
    const shift = (half & 1) * 16;
    page[word] = (page[word]! & ~(0xffff << shift)) | (scale << shift);
  });
}

/** Writes the parameter words of block `block` (0 … 128/g − 1) of head `head`, layout "channel". */
export function writeBlockParameters(
  page: Uint32Array,
  shape: PageShape,
  head: number,
  block: number,
  params: Uint32Array,
): void {
  const { side, kvHeads, headDim } = shape;
  const line = head * (PACKED_PAGE_TOKENS / side.group) + block;
  page.set(params, pageSections(side, kvHeads, headDim).params + line * headDim);
}

/** The row of token slot `slot` of head `head` as attention sees it: ρ·fl(s·q + o), or fl(a·L[q]). */
export function readRow(page: Uint32Array, shape: PageShape, head: number, slot: number): Float64Array {
  const { side, kvHeads, headDim } = shape;
  const at = pageSections(side, kvHeads, headDim);
  const line = head * PACKED_PAGE_TOKENS + slot;
  const half = (i: number) => cacheHalfValue((page[at.scales + (i >> 1)]! >>> ((i & 1) * 16)) & 0xffff);
  const code = (c: number) => codeAt(page, line * at.rowWords, c, side.bits, headDim);
  if (!hasParams(side)) {
    const { levels } = levelsOf(side);
    const groups = headDim / side.group;
    const scale = (c: number) => half(line * groups + Math.floor(c / side.group));
    return Float64Array.from({ length: headDim }, (_, c) => Math.fround(scale(c) * levels[code(c)]!));
  }
  const norm = side.norm ? half(line) : 1;
  const blocks = PACKED_PAGE_TOKENS / side.group;
  return Float64Array.from({ length: headDim }, (_, c) => {
    const word =
      side.layout === "token"
        ? at.params + line * (headDim / side.group) + Math.floor(c / side.group)
        : at.params + (head * blocks + Math.floor(slot / side.group)) * headDim + c;
    const [scale, offset] = [cacheHalfValue(page[word]! & 0xffff), cacheHalfValue(page[word]! >>> 16)];
    return norm * Math.fround(scale * code(c) + offset);
  });
}

/** Parameter words of a token slot's head: a word a group, or (layout "channel") a word a channel of its block. */
export function rowParameters(page: Uint32Array, shape: PageShape, head: number, slot: number): Uint32Array {
  const { side, kvHeads, headDim } = shape;
  const at = pageSections(side, kvHeads, headDim);
  if (!hasParams(side)) return new Uint32Array(0);
  const isToken = side.layout === "token";
  const count = isToken ? headDim / side.group : headDim;
  const line = isToken
    ? head * PACKED_PAGE_TOKENS + slot
    : head * (PACKED_PAGE_TOKENS / side.group) + Math.floor(slot / side.group);
  return page.subarray(at.params + line * count, at.params + (line + 1) * count);
}
