/**
 * Products for few tokens, and for any number of them with integer weights: four weight rows at a time serve all tokens of a
 * block from the L1 cache. Tasks are (block of tokens, four columns of the result), the columns running fastest.
 *
 * An element is summed in one order, whatever the split into tasks and tiles.
 */
import { isFirstCall } from "../../device/cpu/worker.inline.as";
import { normRow } from "../rms-norm/norm.inline.as";
import { EPILOGUE_BYTES, EpilogueArgs, finishSums } from "./epilogue.inline.as";
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
  /** The weight of a norm of the rows of x, or 0; the normed rows go here, too. */
  normWeight: usize;
  normed: usize;
  normEps: f32;
  /** The weight of a norm of the rows of `multiply`, or 0. */
  multiplyWeight: usize;
  multiplyEps: f32;
  codes: usize;
  scales: usize;
  /**
   * For each worker: two times FOUR_BYTES; EPILOGUE_BYTES; two panels (integers, several tokens); tokens and factors (if `x`); normed
   * rows of x; normed rows of `multiply`.
   */
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
function isInteger(kind: i32): bool {
  return kind == INT8 || kind == INT4;
}

function normRows(x: usize, weight: usize, to: usize, rows: i32, columns: i32, eps: f32): void {
  const bytes = (<usize>columns) << 2;
  for (let r: usize = 0; r < <usize>rows; r++) normRow(x + r * bytes, weight, to + r * bytes, columns, eps);
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
  const epilogue = changetype<EpilogueArgs>(upScratch + FOUR_BYTES);
  const hasTiles = g.tokens > 1;
  let free = upScratch + FOUR_BYTES + EPILOGUE_BYTES;
  let panel: usize = 0, upPanel: usize = 0;
  if (isInteger(kind) && hasTiles) {
    panel = free;
    upPanel = panel + ((<usize>rowStride) << 3);
    free = upPanel + ((<usize>rowStride) << 3);
  }
  const isFirst = isFirstCall(worker);
  let prepared = g.prepared;
  let factors = g.factors;
  if (g.x) {
    prepared = free;
    factors = free + <usize>g.tokens * bytes;
    const rows = factors + ((<usize>g.tokens) << 2);
    const rowsBytes = (<usize>g.tokens * <usize>g.columns) << 2;
    free = g.normWeight ? rows + rowsBytes : rows;
    if (isFirst) {
      if (g.normWeight) normRows(g.x, g.normWeight, rows, g.tokens, g.columns, g.normEps);
      prepareTokens(kind, g.normWeight ? rows : g.x, g.tokens, g.columns, rowStride, bytes, prepared);
    }
    if (g.normWeight && begin == 0) memory.copy(g.normed, rows, rowsBytes);
  }
  if (isFirst) {
    memory.copy(changetype<usize>(epilogue), args, EPILOGUE_BYTES);
    if (g.multiplyWeight) {
      normRows(g.multiply, g.multiplyWeight, free, g.tokens, g.outputs, g.multiplyEps);
      epilogue.multiply = free;
    }
  }
  for (let task = begin; task < end; task++) {
    const n0 = (task % g.fours) << 2;
    const t0 = (task / g.fours) * g.tokenBlock;
    const t1 = min(t0 + g.tokenBlock, g.tokens);
    const last = g.outputs - 1;
    const up = g.outputs + n0;
    if (isInteger(kind) && hasTiles) {
      unpackFour(kind, codes, rowStride, n0, last, panel);
      if (g.gate) unpackFour(kind, codes, rowStride, up, last + g.outputs, upPanel);
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
        finishSums(epilogue, t + i, n0, sums, sums + FOUR_BYTES, factor);
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
