/**
 * Where the packed keys and values of one softmax layer live.
 *
 * Token j of a slot's sequence, of which `length` tokens were there before the step:
 *   j < sinks                        side entry j
 *   marked                           side entry sinks + ring + i, where markedTokens[slot, i] = j; bit j of `skips` is set
 *   j < packedEnd(length)            packed. Layout "token": token slot j, not read where bit j of `skips` is set. Layout
 *                                    "channel": block m of the slot, whose tokens are blocks[slot, m] = (first, count) and
 *                                    whose token slots are m·g … m·g + count − 1 (a cut left count < g)
 *   else, before the step            side entry sinks + j mod ring
 *   in the step                      the step's own qkv tensor
 * Token slot s is in page pageTable[slot, ⌊s/128⌋]. Layout "token" packs sinks and marked tokens too; attention skips them.
 *
 * Mixed widths (AKVQ-VL's text-salient layers) are two stores over the same tokens, each skipping the other's: the first
 * has the side entries, the second has none and adds its packed tokens only.
 *
 * A side entry is [2, G, D] f16 (key, value), two to a u32, in the domain in which attention uses it: post-rotary keys, rotated
 * like q where the kind rotates after rotary, plain where it rotates before; rotated values.
 */
import type { Tensor } from "../../tensor/index.js";
import type { PackedFormat } from "./format.js";

export interface PackedSegment {
  /** u32 [pages, words of a page of keys]. */
  readonly keys: Tensor;
  /** u32 [pages, words of a page of values]. */
  readonly values: Tensor;
  /** Pages firstPage … firstPage + pages − 1 are here. */
  readonly firstPage: number;
  readonly pages: number;
}

export interface PackedPages {
  readonly format: PackedFormat;
  readonly segments: readonly PackedSegment[];
  /** i32 [slots, pagesPerSlot], pages of PACKED_PAGE_TOKENS. */
  readonly pageTable: Tensor;
  /** u32 [slots, sinks + ring + marked, G·D] (2·G·D halves an entry); undefined where there are no entries. */
  readonly side: Tensor | undefined;
  /**
   * i32 [slots, 2], written by the host: (floor, shift). Layout "channel": the token slot of token j ≥ max(sinks, floor) is
   * j + shift; −sinks before any cut.
   */
  readonly cuts: Tensor;
  /**
   * Layout "channel": i32 [slots, blocksPerSlot, 2], first token and count of every block, those to come included: the host
   * fills it for a new sequence and again behind a cut, kernels only read it.
   */
  readonly blocks: Tensor | undefined;
  /** marked > 0: i32 [slots, marked], −1: free. */
  readonly markedTokens: Tensor | undefined;
  /** u32 [slots, ⌈maxTokens/32⌉], a bit a token: not to be read from its token slot. Layout "token" only. */
  readonly skips: Tensor | undefined;
  /** i32 [G·D]: order[j], where format.ordered. */
  readonly order: Tensor | undefined;
  /** f32 [G, D]: mean key before rotary, with all but the kept pairs zero; i32 [G, meanPairs]: the kept pairs, where meanPairs > 0. */
  readonly mean: Tensor | undefined;
  readonly pairs: Tensor | undefined;
  /** f32 [G, D]: mean value, where format.valueMean. */
  readonly valueMean?: Tensor | undefined;
}
