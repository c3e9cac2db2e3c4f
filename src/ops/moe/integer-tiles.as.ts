/**
 * The expert layer for several tokens with integer weights: pairs (token, choice) are sorted by expert (tiles.as.ts), and four
 * rows of an expert are multiplied with two of its tokens at a time (../matmul/integer-tile.inline.as.ts).
 */
import { EpilogueArgs, finishSums } from "../matmul/epilogue.inline.as";
import { LANES_BYTES } from "../matmul/integer-tile.inline.as";
import { FOUR_BYTES, factorOf, multiplyFour, unpackFour } from "../matmul/rows.inline.as";
import { INT4, INT8 } from "../matmul/weights/weights.inline.as";

@unmanaged
class IntegerTilesArgs extends EpilogueArgs {
  prepared: usize;
  factors: usize;
  codes: usize;
  scales: usize;
  /** [experts, 2]: first position of each expert, pairs of it. */
  ranges: usize;
  /** [slots]: pair at each position. */
  order: usize;
  /** For each worker: two times FOUR_BYTES, two panels. */
  scratch: usize;
  scratchBytes: i32;
  /** Pairs of a prepared token; 0: positions are prepared. */
  topK: i32;
  preparedBytes: i32;
  rowStride: i32;
  groupShift: i32;
  /** Fours of columns of the result. */
  fours: i32;
  /** Blocks of tokens that the busiest expert might have, and their tokens (even). */
  blocks: i32;
  tokenBlock: i32;
}

/** The prepared token at a position. */
// @ts-ignore: decorator
@inline
function tokenAt(g: IntegerTilesArgs, position: i32): i32 {
  return g.topK ? load<i32>(g.order + ((<usize>position) << 2)) / g.topK : position;
}

/** Tasks are (expert, block of its tokens, four columns), the columns running fastest. The result has positions for rows. */
// @ts-ignore: decorator
@inline
function multiplyExperts(kind: i32, args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<IntegerTilesArgs>(args);
  const codes = g.codes, scales = g.scales, rowStride = g.rowStride, shift = g.groupShift;
  const scratch = g.scratch + <usize>worker * <usize>g.scratchBytes;
  const upScratch = scratch + FOUR_BYTES;
  const panel = upScratch + FOUR_BYTES;
  const upPanel = panel + ((<usize>rowStride) << 3);
  for (let task = begin; task < end; task++) {
    const expert = task / g.fours / g.blocks;
    const range = g.ranges + ((<usize>expert) << 3);
    const from = (task / g.fours % g.blocks) * g.tokenBlock;
    const count = min(g.tokenBlock, load<i32>(range, 4) - from);
    if (count <= 0) continue;
    const n0 = (task % g.fours) << 2;
    const first = expert * (g.gate ? 2 * g.outputs : g.outputs);
    const up = first + g.outputs;
    const hasTiles = count > 1;
    if (hasTiles) {
      unpackFour(kind, codes, rowStride, first + n0, up - 1, panel);
      if (g.gate) unpackFour(kind, codes, rowStride, up + n0, up + g.outputs - 1, upPanel);
    }
    const stop = load<i32>(range) + from + count;
    for (let p = stop - count; p < stop; p += 2) {
      const two = p + 1 < stop;
      const token0 = tokenAt(g, p);
      const token1 = two ? tokenAt(g, p + 1) : token0;
      const x0 = g.prepared + <usize>token0 * <usize>g.preparedBytes;
      const x1 = g.prepared + <usize>token1 * <usize>g.preparedBytes;
      multiplyFour(
        kind, codes, scales, rowStride, shift, first + n0, up - 1, hasTiles, panel, x0, x1, two, scratch,
      );
      if (g.gate) {
        const last = up + g.outputs - 1;
        multiplyFour(kind, codes, scales, rowStride, shift, up + n0, last, hasTiles, upPanel, x0, x1, two, upScratch);
      }
      const sums = scratch + LANES_BYTES;
      finishSums(g, p, n0, sums, sums + FOUR_BYTES, factorOf(kind, g.factors, token0));
      if (two) finishSums(g, p + 1, n0, sums + 16, sums + FOUR_BYTES + 16, factorOf(kind, g.factors, token1));
    }
  }
}

export function moeTilesInt8(args: usize, begin: i32, end: i32, worker: i32): void {
  multiplyExperts(INT8, args, begin, end, worker);
}

export function moeTilesInt4(args: usize, begin: i32, end: i32, worker: i32): void {
  multiplyExperts(INT4, args, begin, end, worker);
}
