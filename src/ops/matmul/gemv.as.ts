/**
 * Products for few tokens, and for any number of them with integer weights: four weight rows at a time serve all tokens of a
 * block from the L1 cache. Tasks are (block of tokens, four columns of the result), the columns running fastest.
 *
 * An element is summed in one order, whatever the split into tasks and tiles.
 */
import { EpilogueArgs, finishSums } from "./epilogue.inline.as";
import { LANES_BYTES } from "./integer-tile.inline.as";
import { prepareTokens } from "./prepare.inline.as";
import { FOUR_BYTES, factorOf, multiplyFour, unpackFour } from "./rows.inline.as";
import { BF16, F16, F32, INT4, INT8 } from "./weights/weights.inline.as";

@unmanaged
class RowsArgs extends EpilogueArgs {
  /** [tokens, columns] f32 if the tokens are prepared here, by each thread for itself; else 0. */
  x: usize;
  /** Prepared tokens and their factors. */
  prepared: usize;
  factors: usize;
  codes: usize;
  scales: usize;
  /** For each worker: two times FOUR_BYTES; two panels (int4, several tokens); tokens and factors (if `x`). */
  scratch: usize;
  scratchBytes: i32;
  columns: i32;
  tokens: i32;
  preparedBytes: i32;
  rowStride: i32;
  groupShift: i32;
  /** Fours of columns of the result. */
  fours: i32;
  /** Tokens of a task, even if there are several blocks. */
  tokenBlock: i32;
}

// @ts-ignore: decorator
@inline
function multiplyRows(kind: i32, args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<RowsArgs>(args);
  const codes = g.codes;
  const scales = g.scales;
  const rowStride = g.rowStride;
  const shift = g.groupShift;
  const bytes = <usize>g.preparedBytes;
  const scratch = g.scratch + <usize>worker * <usize>g.scratchBytes;
  const upScratch = scratch + FOUR_BYTES;
  const hasTiles = g.tokens > 1;
  let free = upScratch + FOUR_BYTES;
  let panel: usize = 0, upPanel: usize = 0;
  if (kind == INT4 && hasTiles) {
    panel = free;
    upPanel = panel + ((<usize>rowStride) << 3);
    free = upPanel + ((<usize>rowStride) << 3);
  }
  let prepared = g.prepared;
  let factors = g.factors;
  if (g.x) {
    prepared = free;
    factors = free + <usize>g.tokens * bytes;
    prepareTokens(kind, g.x, g.tokens, g.columns, rowStride, bytes, prepared);
  }
  for (let task = begin; task < end; task++) {
    const n0 = (task % g.fours) << 2;
    const t0 = (task / g.fours) * g.tokenBlock;
    const t1 = min(t0 + g.tokenBlock, g.tokens);
    const last = g.outputs - 1;
    const up = g.outputs + n0;
    if (kind == INT4 && hasTiles) {
      unpackFour(codes, rowStride, n0, last, panel);
      if (g.gate) unpackFour(codes, rowStride, up, last + g.outputs, upPanel);
    }
    for (let t = t0; t < t1; t += 2) {
      const x0 = prepared + <usize>t * bytes;
      const two = t + 1 < t1;
      multiplyFour(kind, codes, scales, rowStride, shift, n0, last, hasTiles, panel, x0, x0 + bytes, two, scratch);
      if (g.gate) {
        const upLast = last + g.outputs;
        multiplyFour(
          kind, codes, scales, rowStride, shift, up, upLast, hasTiles, upPanel, x0, x0 + bytes, two, upScratch,
        );
      }
      const count = two ? 2 : 1;
      for (let i = 0; i < count; i++) {
        const sums = scratch + LANES_BYTES + ((<usize>i) << 4);
        const factor = factorOf(kind, factors, t + i);
        finishSums(g, t + i, n0, sums, sums + FOUR_BYTES, factor);
      }
    }
  }
}

export function matmulRowsF32(args: usize, begin: i32, end: i32, worker: i32): void {
  multiplyRows(F32, args, begin, end, worker);
}

export function matmulRowsF16(args: usize, begin: i32, end: i32, worker: i32): void {
  multiplyRows(F16, args, begin, end, worker);
}

export function matmulRowsBf16(args: usize, begin: i32, end: i32, worker: i32): void {
  multiplyRows(BF16, args, begin, end, worker);
}

export function matmulRowsInt8(args: usize, begin: i32, end: i32, worker: i32): void {
  multiplyRows(INT8, args, begin, end, worker);
}

export function matmulRowsInt4(args: usize, begin: i32, end: i32, worker: i32): void {
  multiplyRows(INT4, args, begin, end, worker);
}
