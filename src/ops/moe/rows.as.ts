/**
 * The expert layer for few tokens: four rows at a time of each (token, choice) pair's expert, times the token.
 *
 * Tasks are blocks of columns of the result, so that all tasks cost the same whatever the routing. A block's rows of an
 * expert are read one behind the other before those of the next pair (in turn, a row of each of many experts at a time,
 * memory gave a quarter of its bandwidth), and another pair of the same expert finds them in the cache.
 */
import { EpilogueArgs, finishSums } from "../matmul/epilogue.inline.as";
import { LANES_BYTES } from "../matmul/integer-tile.inline.as";
import { prepareTokens } from "../matmul/prepare.inline.as";
import { FOUR_BYTES, factorOf, multiplyFour } from "../matmul/rows.inline.as";
import { BF16, F16, F32, INT4, INT8 } from "../matmul/weights/weights.inline.as";
import { load4, store4 } from "../simd.inline.as";
import { MixArgs, mixSome } from "./mix.inline.as";

@unmanaged
class GateUpArgs extends EpilogueArgs {
  /** [T, columns] f32 if the tokens are prepared here, by each thread for itself; else 0. */
  x: usize;
  prepared: usize;
  factors: usize;
  codes: usize;
  scales: usize;
  /** [pairs]. */
  experts: usize;
  /** For each worker: two times FOUR_BYTES; tokens and factors (if `x`). */
  scratch: usize;
  scratchBytes: i32;
  pairs: i32;
  topK: i32;
  columns: i32;
  preparedBytes: i32;
  rowStride: i32;
  groupShift: i32;
  /** Columns of a task, a multiple of 4. */
  block: i32;
}

@unmanaged
class DownArgs extends MixArgs {
  /** [tokens, topK, columns] f32, or 0: as above. */
  x: usize;
  prepared: usize;
  factors: usize;
  codes: usize;
  scales: usize;
  /** [tokens, topK]. */
  experts: usize;
  /** As above, but FOUR_BYTES once. */
  scratch: usize;
  scratchBytes: i32;
  tokens: i32;
  columns: i32;
  preparedBytes: i32;
  rowStride: i32;
  groupShift: i32;
  /** Columns of a task, a multiple of 4. */
  block: i32;
}

// @ts-ignore: decorator
@inline
function gateUpRows(kind: i32, args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<GateUpArgs>(args);
  const codes = g.codes, scales = g.scales, rowStride = g.rowStride, shift = g.groupShift;
  const bytes = <usize>g.preparedBytes;
  const scratch = g.scratch + <usize>worker * <usize>g.scratchBytes;
  const upScratch = scratch + FOUR_BYTES;
  let prepared = g.prepared;
  let factors = g.factors;
  if (g.x) {
    const tokens = g.pairs / g.topK;
    prepared = upScratch + FOUR_BYTES;
    factors = prepared + <usize>tokens * bytes;
    prepareTokens(kind, g.x, tokens, g.columns, rowStride, bytes, prepared);
  }
  for (let task = begin; task < end; task++) {
    const n0 = task * g.block;
    const n1 = min(n0 + g.block, g.outputs);
    for (let pair = 0; pair < g.pairs; pair++) {
      const token = pair / g.topK;
      const x = prepared + <usize>token * bytes;
      const first = load<i32>(g.experts + ((<usize>pair) << 2)) * 2 * g.outputs;
      const up = first + g.outputs;
      const factor = factorOf(kind, factors, token);
      for (let n = n0; n < n1; n += 4) {
        multiplyFour(kind, codes, scales, rowStride, shift, first + n, up - 1, false, 0, x, x, false, scratch);
        multiplyFour(
          kind, codes, scales, rowStride, shift, up + n, up + g.outputs - 1, false, 0, x, x, false, upScratch,
        );
        finishSums(g, pair, n, scratch + LANES_BYTES, upScratch + LANES_BYTES, factor);
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function downRows(kind: i32, args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<DownArgs>(args);
  const codes = g.codes, scales = g.scales, rowStride = g.rowStride, shift = g.groupShift;
  const bytes = <usize>g.preparedBytes;
  const scratch = g.scratch + <usize>worker * <usize>g.scratchBytes;
  let prepared = g.prepared;
  let factors = g.factors;
  if (g.x) {
    const pairs = g.tokens * g.topK;
    prepared = scratch + FOUR_BYTES;
    factors = prepared + <usize>pairs * bytes;
    prepareTokens(kind, g.x, pairs, g.columns, rowStride, bytes, prepared);
  }
  for (let task = begin; task < end; task++) {
    const c0 = task * g.block;
    const c1 = min(c0 + g.block, g.channels);
    for (let token = 0; token < g.tokens; token++) {
      // The sums grow in the place of the result.
      const out = g.out + ((<usize>token * <usize>g.channels) << 2);
      for (let pair = token * g.topK; pair < (token + 1) * g.topK; pair++) {
        const x = prepared + <usize>pair * bytes;
        const first = load<i32>(g.experts + ((<usize>pair) << 2)) * g.channels;
        const weight = v128.load_splat<f32>(g.weights + ((<usize>pair) << 2));
        const factor = f32x4.splat(factorOf(kind, factors, pair));
        const last = first + g.channels - 1;
        for (let c = c0; c < c1; c += 4) {
          multiplyFour(kind, codes, scales, rowStride, shift, first + c, last, false, 0, x, x, false, scratch);
          const y = f32x4.mul(weight, f32x4.mul(factor, v128.load(scratch + LANES_BYTES)));
          const at = out + ((<usize>c) << 2);
          const width = g.channels - c;
          store4(at, pair == token * g.topK ? y : f32x4.add(load4(at, width), y), width);
        }
      }
      for (let c = c0; c < c1; c += 4) mixSome(g, token, c, load4(out + ((<usize>c) << 2), g.channels - c));
    }
  }
}

export function moeGateUpRowsF32(args: usize, begin: i32, end: i32, worker: i32): void {
  gateUpRows(F32, args, begin, end, worker);
}

export function moeGateUpRowsF16(args: usize, begin: i32, end: i32, worker: i32): void {
  gateUpRows(F16, args, begin, end, worker);
}

export function moeGateUpRowsBf16(args: usize, begin: i32, end: i32, worker: i32): void {
  gateUpRows(BF16, args, begin, end, worker);
}

export function moeGateUpRowsInt8(args: usize, begin: i32, end: i32, worker: i32): void {
  gateUpRows(INT8, args, begin, end, worker);
}

export function moeGateUpRowsInt4(args: usize, begin: i32, end: i32, worker: i32): void {
  gateUpRows(INT4, args, begin, end, worker);
}

export function moeDownRowsF32(args: usize, begin: i32, end: i32, worker: i32): void {
  downRows(F32, args, begin, end, worker);
}

export function moeDownRowsF16(args: usize, begin: i32, end: i32, worker: i32): void {
  downRows(F16, args, begin, end, worker);
}

export function moeDownRowsBf16(args: usize, begin: i32, end: i32, worker: i32): void {
  downRows(BF16, args, begin, end, worker);
}

export function moeDownRowsInt8(args: usize, begin: i32, end: i32, worker: i32): void {
  downRows(INT8, args, begin, end, worker);
}

export function moeDownRowsInt4(args: usize, begin: i32, end: i32, worker: i32): void {
  downRows(INT4, args, begin, end, worker);
}
