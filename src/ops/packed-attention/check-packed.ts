/** Checks of what goes into attention over packed pages. */
import { ShapeError, sameShape, type Tensor } from "../../tensor/index.js";
import { hasParams, type PackedFormat, pageSections, ringTokens, type SideFormat } from "../packed-kv/format.js";
import type { PackedPages } from "../packed-kv/packed-pages.js";
import type { PreparedKv } from "../packed-kv/prepare.js";
import type { RopeTable } from "../rope/rope.js";
import type { Step } from "../step/layout.js";

/** @throws {ShapeError} The format is none that kernels read, or the pages contradict it or themselves. */
export function checkPages(where: string, pages: PackedPages): void {
  const { format, segments, pageTable, side, cuts, blocks, markedTokens, skips, order, pairs } = pages;
  checkFormat(where, format);
  const { kvHeads, headDim, keys, values } = format;
  if (segments.length === 0) throw new ShapeError(where, "pages", "at least one segment", "none");
  segments.forEach((segment, i) => {
    for (const [name, sections] of [
      ["keys", pageSections(keys, kvHeads, headDim)],
      ["values", pageSections(values, kvHeads, headDim)],
    ] as const) {
      expectTensor(where, `${name} of segment ${i}`, segment[name], "u32", [segment.pages, sections.words]);
    }
  });
  if (pageTable.dtype !== "i32" || pageTable.shape.length !== 2) {
    throw new ShapeError(where, "pageTable", "i32 [slots, pagesPerSlot]", described(pageTable));
  }
  const slots = pageTable.shape[0]!;
  const entries = format.sinks + ringTokens(format) + format.marked;
  if (side) expectTensor(where, "side", side, "u32", [slots, entries, kvHeads * headDim]);
  expectTensor(where, "cuts", cuts, "i32", [slots, 2]);
  const wants = (name: string, tensor: Tensor | undefined, needed: boolean) => {
    if (needed && !tensor) throw new ShapeError(where, name, "a tensor, as the format needs it", "none");
  };
  wants("blocks", blocks, keys.layout === "channel");
  if (
    blocks &&
    (blocks.dtype !== "i32" || blocks.shape.length !== 3 || blocks.shape[0] !== slots || blocks.shape[2] !== 2)
  ) {
    throw new ShapeError(where, "blocks", `i32 [slots=${slots}, blocksPerSlot, 2]`, described(blocks));
  }
  wants("markedTokens", markedTokens, format.marked > 0 && side !== undefined);
  if (markedTokens) expectTensor(where, "markedTokens", markedTokens, "i32", [slots, format.marked]);
  if (skips && keys.layout === "channel") {
    throw new ShapeError(where, "skips", "none, as keys are packed in blocks of tokens", described(skips));
  }
  if (skips && (skips.dtype !== "u32" || skips.shape.length !== 2 || skips.shape[0] !== slots)) {
    throw new ShapeError(where, "skips", `u32 [slots=${slots}, ⌈maxTokens/32⌉]`, described(skips));
  }
  wants("order", order, format.ordered);
  if (order) expectTensor(where, "order", order, "i32", [kvHeads * headDim]);
  wants("pairs", pairs, format.meanPairs > 0);
  if (pairs) expectTensor(where, "pairs", pairs, "i32", [kvHeads, format.meanPairs]);
}

function checkFormat(where: string, f: PackedFormat): void {
  const { headDim, kvHeads, keys, values } = f;
  const fail = (argument: string, expected: string, got: readonly number[] | string): never => {
    throw new ShapeError(where, argument, expected, got);
  };
  if (headDim % 4 !== 0 || headDim < 4 || headDim > 256) fail("headDim", "a multiple of 4, at most 256", [headDim]);
  if (kvHeads < 1 || kvHeads > 64) fail("kvHeads", "1 … 64", [kvHeads]);
  checkSide(where, "keys", keys, headDim);
  checkSide(where, "values", values, headDim);
  if (values.layout !== "token") fail("layout of values", "token", values.layout);
  if (values.norm) fail("norm of values", "false", "true");
  if (!isPowerOfTwo(f.keyRotation) || (kvHeads * headDim) % (f.keyRotation || 1) !== 0) {
    fail("keyRotation", `0 or a power of two that divides G·D = ${kvHeads * headDim}`, [f.keyRotation]);
  }
  if (!isPowerOfTwo(f.valueRotation) || headDim % (f.valueRotation || 1) !== 0) {
    fail("valueRotation", `0 or a power of two that divides D = ${headDim}`, [f.valueRotation]);
  }
  if (f.ordered && !f.ropeAtRead) fail("ordered", "false where rotary comes before packing", "true");
  if (f.ropeAtRead && (keys.layout !== "token" || keys.norm || f.meanPairs > 0)) {
    fail("keys", "layout token without norm or mean split, where rotary is applied at every read", keys.layout);
  }
}

function checkSide(where: string, name: string, side: SideFormat, headDim: number): void {
  const { group, layout, quantiser, bits } = side;
  const fits =
    layout === "channel"
      ? [16, 32, 64, 128].includes(group)
      : group === headDim || (group % 16 === 0 && headDim % group === 0);
  if (!fits) throw new ShapeError(where, `group of ${name}`, `16, 32, 64 or 128, and within D = ${headDim}`, [group]);
  if (hasParams(side)) return;
  if (layout !== "token" || bits > 3 || side.norm) {
    throw new ShapeError(where, name, `2 or 3 bits by token without norm, as the quantiser is ${quantiser}`, [bits]);
  }
  if (quantiser === "levels" && group !== headDim) {
    throw new ShapeError(where, `group of ${name}`, `g = D = ${headDim}, as the quantiser is levels`, [group]);
  }
}

function isPowerOfTwo(n: number): boolean {
  return Number.isInteger(n) && n >= 0 && (n & (n - 1)) === 0;
}

/** Checks qkv [T, (H + 2G)·D]. */
export function checkQkv(where: string, qkv: Tensor, pages: PackedPages, heads: number, step: Step): void {
  const { kvHeads, headDim } = pages.format;
  if (!Number.isInteger(heads) || heads < 1 || heads % kvHeads !== 0) {
    throw new RangeError(`${where}: heads expected a multiple of the ${kvHeads} key/value heads, got ${heads}`);
  }
  expectTensor(where, "qkv", qkv, "f32", [step.tokenCount, (heads + 2 * kvHeads) * headDim]);
}

/** Checks what rotary at every read and the mean split need. */
export function checkRotary(
  where: string,
  prepared: PreparedKv,
  pages: PackedPages,
  o: { readonly heads: number; readonly rope?: RopeTable },
  step: Step,
): void {
  const { meanPairs, headDim, ropeAtRead } = pages.format;
  if (o.rope && o.rope.rotaryDim > headDim) {
    throw new ShapeError(where, "rope.rotaryDim", `at most the head size ${headDim}`, [o.rope.rotaryDim]);
  }
  if (ropeAtRead && !o.rope) throw new ShapeError(where, "rope", "a table, as rotary is applied at every read", "none");
  if (meanPairs === 0) return;
  if (!o.rope) throw new ShapeError(where, "rope", "a table, as the mean key is put back in the scores", "none");
  if (!prepared.meanTerms) throw new ShapeError(where, "prepared.meanTerms", "a tensor", "none");
  expectTensor(where, "prepared.meanTerms", prepared.meanTerms, "f32", [step.tokenCount, o.heads, meanPairs, 2]);
}

function expectTensor(where: string, name: string, tensor: Tensor, dtype: string, shape: readonly number[]): void {
  if (tensor.dtype !== dtype || !sameShape(tensor.shape, shape)) {
    throw new ShapeError(where, name, `${dtype} [${shape.join(", ")}]`, described(tensor));
  }
}

function described(tensor: Tensor): string {
  return `${tensor.dtype} [${tensor.shape.join(", ")}]`;
}
