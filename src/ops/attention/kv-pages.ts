/**
 * Keys and values of one softmax layer in pages.
 *
 * A page holds PAGE_TOKENS consecutive positions of one sequence. `pageTable[slot, i]` is the page of positions
 * 64·i … 64·i + 63, or −1. Pages live in segments: a segment is one pair of buffers, and the cache grows by adding
 * segments, so nothing that is there is copied and no binding exceeds the device's limit.
 *
 * Axes  G key/value heads, D head size. A page is [G, PAGE_TOKENS, D], row-major, in `dtype`.
 */
import type { Tensor } from "../../tensor/index.js";

export const PAGE_TOKENS = 64;

export interface KvSegment {
  /** [pages, G, PAGE_TOKENS, D]. */
  readonly keys: Tensor;
  readonly values: Tensor;
  /** Pages firstPage … firstPage + pages − 1 are here. */
  readonly firstPage: number;
  readonly pages: number;
}

export interface KvPages {
  readonly dtype: "f32" | "f16" | "bf16";
  readonly kvHeads: number;
  readonly headDim: number;
  readonly segments: readonly KvSegment[];
  /** i32 [slots, pagesPerSlot]. */
  readonly pageTable: Tensor;
}
