/**
 * The expert layer for few tokens: one-row products of each (token, choice) pair with the chosen expert.
 *
 * Tasks are blocks of columns of the result, so that all tasks cost the same whatever the routing. A block's rows of an
 * expert are read one behind the other before those of the next pair (in turn, a row of each of many experts at a time,
 * memory gave a quarter of its bandwidth), and another pair of the same expert finds them in the cache.
 */
import { dotRow } from "../matmul/dot.inline.as";
import { EpilogueArgs, finishOne } from "../matmul/epilogue.inline.as";
import { BF16, F16, F32, INT4, INT8 } from "../matmul/weights/weights.inline.as";
import { MixArgs, mixOne } from "./mix.inline.as";

@unmanaged
class GateUpArgs extends EpilogueArgs {
  prepared: usize;
  factors: usize;
  codes: usize;
  scales: usize;
  /** [pairs]. */
  experts: usize;
  pairs: i32;
  topK: i32;
  preparedBytes: i32;
  rowStride: i32;
  groupShift: i32;
  /** Columns of a task. */
  block: i32;
}

@unmanaged
class DownArgs extends MixArgs {
  prepared: usize;
  factors: usize;
  codes: usize;
  scales: usize;
  /** [tokens, topK]. */
  experts: usize;
  tokens: i32;
  preparedBytes: i32;
  rowStride: i32;
  groupShift: i32;
  /** Columns of a task. */
  block: i32;
}

/** What products of a prepared token are multiplied with. */
// @ts-ignore: decorator
@inline
function factorOf(kind: i32, factors: usize, token: i32): f32 {
  return kind == F32 || kind == BF16 ? 1 : load<f32>(factors + ((<usize>token) << 2));
}

// @ts-ignore: decorator
@inline
function gateUpRows(kind: i32, args: usize, begin: i32, end: i32): void {
  const g = changetype<GateUpArgs>(args);
  for (let task = begin; task < end; task++) {
    const n0 = task * g.block;
    const n1 = min(n0 + g.block, g.outputs);
    for (let pair = 0; pair < g.pairs; pair++) {
      const token = pair / g.topK;
      const x = g.prepared + <usize>token * <usize>g.preparedBytes;
      const first = load<i32>(g.experts + ((<usize>pair) << 2)) * 2 * g.outputs;
      const factor = factorOf(kind, g.factors, token);
      for (let n = n0; n < n1; n++) {
        const z = factor * dotRow(kind, g.codes, g.scales, first + n, g.rowStride, g.groupShift, x);
        const up = factor * dotRow(kind, g.codes, g.scales, first + g.outputs + n, g.rowStride, g.groupShift, x);
        finishOne(g, pair, n, z, up);
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function downRows(kind: i32, args: usize, begin: i32, end: i32): void {
  const g = changetype<DownArgs>(args);
  for (let task = begin; task < end; task++) {
    const c0 = task * g.block;
    const c1 = min(c0 + g.block, g.channels);
    for (let token = 0; token < g.tokens; token++) {
      // The sums grow in the place of the result.
      const out = g.out + ((<usize>token * <usize>g.channels) << 2);
      for (let pair = token * g.topK; pair < (token + 1) * g.topK; pair++) {
        const x = g.prepared + <usize>pair * <usize>g.preparedBytes;
        const first = load<i32>(g.experts + ((<usize>pair) << 2)) * g.channels;
        const weight = load<f32>(g.weights + ((<usize>pair) << 2));
        const factor = factorOf(kind, g.factors, pair);
        for (let c = c0; c < c1; c++) {
          const y = weight * (factor * dotRow(kind, g.codes, g.scales, first + c, g.rowStride, g.groupShift, x));
          const at = out + ((<usize>c) << 2);
          store<f32>(at, pair == token * g.topK ? y : load<f32>(at) + y);
        }
      }
      for (let c = c0; c < c1; c++) mixOne(g, token, c, load<f32>(out + ((<usize>c) << 2)));
    }
  }
}

export function moeGateUpRowsF32(args: usize, begin: i32, end: i32, worker: i32): void {
  gateUpRows(F32, args, begin, end);
}

export function moeGateUpRowsF16(args: usize, begin: i32, end: i32, worker: i32): void {
  gateUpRows(F16, args, begin, end);
}

export function moeGateUpRowsBf16(args: usize, begin: i32, end: i32, worker: i32): void {
  gateUpRows(BF16, args, begin, end);
}

export function moeGateUpRowsInt8(args: usize, begin: i32, end: i32, worker: i32): void {
  gateUpRows(INT8, args, begin, end);
}

export function moeGateUpRowsInt4(args: usize, begin: i32, end: i32, worker: i32): void {
  gateUpRows(INT4, args, begin, end);
}

export function moeDownRowsF32(args: usize, begin: i32, end: i32, worker: i32): void {
  downRows(F32, args, begin, end);
}

export function moeDownRowsF16(args: usize, begin: i32, end: i32, worker: i32): void {
  downRows(F16, args, begin, end);
}

export function moeDownRowsBf16(args: usize, begin: i32, end: i32, worker: i32): void {
  downRows(BF16, args, begin, end);
}

export function moeDownRowsInt8(args: usize, begin: i32, end: i32, worker: i32): void {
  downRows(INT8, args, begin, end);
}

export function moeDownRowsInt4(args: usize, begin: i32, end: i32, worker: i32): void {
  downRows(INT4, args, begin, end);
}
