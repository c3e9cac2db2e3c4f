/**
 * The expert layer for few tokens: four rows at a time of an expert, times the tokens that chose it.
 *
 * Tasks are blocks of columns of the result, so that all tasks cost the same whatever the routing. Pairs (token, choice) are
 * sorted by expert, by each thread for itself: a block's rows of an expert are read once, one behind the other (in turn, a row
 * of each of many experts at a time, memory gave a quarter of its bandwidth). Norm, router and routing can be part of the
 * launch: each thread does them for itself, which costs less than waiting for one that does.
 */
import { isFirstCall } from "../../device/cpu/worker.inline.as";
import { dotF32 } from "../matmul/dot.inline.as";
import { EpilogueArgs, finishSums } from "../matmul/epilogue.inline.as";
import { LANES_BYTES } from "../matmul/integer-tile.inline.as";
import { prepareTokens } from "../matmul/prepare.inline.as";
import { FOUR_BYTES, factorOf, multiplyFour, unpackFour } from "../matmul/rows.inline.as";
import { BF16, F16, F32, INT4, INT8 } from "../matmul/weights/weights.inline.as";
import { normRow } from "../rms-norm/norm.inline.as";
import { routeToken } from "../route-experts/route.inline.as";
import { MixArgs, mixSome } from "./mix.inline.as";

@unmanaged
class GateUpArgs extends EpilogueArgs {
  /** [T, columns] f32 if the tokens are prepared here, by each thread for itself; else 0. */
  x: usize;
  prepared: usize;
  factors: usize;
  /**
   * The weight of a norm of the tokens at x, or 0: then the experts are chosen already. Else the router [experts, columns], f32,
   * and where the normed rows and the weights of the chosen experts go.
   */
  normWeight: usize;
  normEps: f32;
  router: usize;
  expertCount: i32;
  normalise: i32;
  normed: usize;
  weights: usize;
  /** [pairs]. */
  experts: usize;
  codes: usize;
  scales: usize;
  /**
   * For each worker: two times FOUR_BYTES; two panels (integers, several pairs); the pairs' order; chosen experts, weights and
   * logits (if `normWeight`); tokens and factors (if `x`); normed rows (if `normWeight`).
   */
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
  /** For each worker: FOUR_BYTES; a panel; the pairs' order; products, [pairs, block]; tokens and factors. */
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
function wordAt(list: usize, index: i32): i32 {
  return load<i32>(list + ((<usize>index) << 2));
}

/** Pairs by expert, those of one expert in their order. */
function sortPairs(experts: usize, pairs: i32, order: usize): void {
  for (let pair = 0; pair < pairs; pair++) {
    const expert = wordAt(experts, pair);
    let at = order + ((<usize>pair) << 2);
    while (at > order && wordAt(experts, load<i32>(at - 4)) > expert) {
      store<i32>(at, load<i32>(at - 4));
      at -= 4;
    }
    store<i32>(at, pair);
  }
}

/** Where the pairs of the expert of the one at `first` end in the order. */
// @ts-ignore: decorator
@inline
function endOfExpert(experts: usize, order: usize, first: i32, pairs: i32): i32 {
  const expert = wordAt(experts, wordAt(order, first));
  let end = first + 1;
  while (end < pairs && wordAt(experts, wordAt(order, end)) == expert) end++;
  return end;
}

// @ts-ignore: decorator
@inline
function panelBytes(kind: i32, pairs: i32, rowStride: i32): usize {
  return (kind == INT8 || kind == INT4) && pairs > 1 ? (<usize>rowStride) << 3 : 0;
}

/** Norms tokens to `rows` and routes them. */
function routeTokens(g: GateUpArgs, tokens: i32, rows: usize, chosen: usize, weights: usize, logits: usize): void {
  const columns = g.columns;
  const rowBytes = (<usize>columns) << 2;
  for (let t = 0; t < tokens; t++) {
    const row = rows + <usize>t * rowBytes;
    normRow(g.x + <usize>t * rowBytes, g.normWeight, row, columns, g.normEps);
    for (let e = 0; e < g.expertCount; e++) {
      store<f32>(logits + ((<usize>e) << 2), dotF32(g.router + <usize>e * rowBytes, row, columns));
    }
    const choices = (<usize>(t * g.topK)) << 2;
    routeToken(logits, g.expertCount, g.topK, g.normalise, chosen + choices, weights + choices);
  }
}

// @ts-ignore: decorator
@inline
function gateUpRows(kind: i32, args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<GateUpArgs>(args);
  const codes = g.codes, scales = g.scales, rowStride = g.rowStride, shift = g.groupShift;
  const bytes = <usize>g.preparedBytes;
  const pairs = g.pairs;
  const tokens = pairs / g.topK;
  const pairsBytes = (<usize>pairs) << 2;
  const scratch = g.scratch + <usize>worker * <usize>g.scratchBytes;
  const upScratch = scratch + FOUR_BYTES;
  const panel = upScratch + FOUR_BYTES;
  const upPanel = panel + panelBytes(kind, pairs, rowStride);
  const order = upPanel + panelBytes(kind, pairs, rowStride);
  const chosen = order + pairsBytes;
  const weights = chosen + pairsBytes;
  const logits = weights + pairsBytes;
  const free = g.normWeight ? logits + ((<usize>g.expertCount) << 2) : chosen;
  const prepared = g.x ? free : g.prepared;
  const factors = g.x ? free + <usize>tokens * bytes : g.factors;
  const rows = factors + ((<usize>tokens) << 2);
  const experts = g.normWeight ? chosen : g.experts;
  if (isFirstCall(worker)) {
    if (g.normWeight) routeTokens(g, tokens, rows, chosen, weights, logits);
    if (g.x) prepareTokens(kind, g.normWeight ? rows : g.x, tokens, g.columns, rowStride, bytes, prepared);
    sortPairs(experts, pairs, order);
  }
  if (g.normWeight && begin == 0) {
    memory.copy(g.normed, rows, <usize>tokens * ((<usize>g.columns) << 2));
    memory.copy(g.experts, chosen, pairsBytes);
    memory.copy(g.weights, weights, pairsBytes);
  }
  for (let task = begin; task < end; task++) {
    const n0 = task * g.block;
    const n1 = min(n0 + g.block, g.outputs);
    for (let from = 0, to = 0; from < pairs; from = to) {
      to = endOfExpert(experts, order, from, pairs);
      const first = wordAt(experts, wordAt(order, from)) * 2 * g.outputs;
      const up = first + g.outputs;
      const last = up + g.outputs - 1;
      const hasTiles = to - from > 1;
      for (let n = n0; n < n1; n += 4) {
        if ((kind == INT8 || kind == INT4) && hasTiles) {
          unpackFour(kind, codes, rowStride, first + n, up - 1, panel);
          unpackFour(kind, codes, rowStride, up + n, last, upPanel);
        }
        for (let p = from; p < to; p += 2) {
          const two = p + 1 < to;
          const pair0 = wordAt(order, p);
          const pair1 = two ? wordAt(order, p + 1) : pair0;
          const token0 = pair0 / g.topK, token1 = pair1 / g.topK;
          const x0 = prepared + <usize>token0 * bytes;
          const x1 = prepared + <usize>token1 * bytes;
          multiplyFour(kind, codes, scales, rowStride, shift, first + n, up - 1, hasTiles, panel, x0, x1, two, scratch);
          multiplyFour(kind, codes, scales, rowStride, shift, up + n, last, hasTiles, upPanel, x0, x1, two, upScratch);
          const sums = scratch + LANES_BYTES;
          finishSums(g, pair0, n, sums, sums + FOUR_BYTES, factorOf(kind, factors, token0));
          if (two) finishSums(g, pair1, n, sums + 16, sums + FOUR_BYTES + 16, factorOf(kind, factors, token1));
        }
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
  const pairs = g.tokens * g.topK;
  const lineBytes = (<usize>g.block) << 2;
  const scratch = g.scratch + <usize>worker * <usize>g.scratchBytes;
  const panel = scratch + FOUR_BYTES;
  const order = panel + panelBytes(kind, pairs, rowStride);
  const products = order + ((<usize>pairs) << 2);
  const free = products + <usize>pairs * lineBytes;
  const prepared = g.x ? free : g.prepared;
  const factors = g.x ? free + <usize>pairs * bytes : g.factors;
  if (isFirstCall(worker)) {
    if (g.x) prepareTokens(kind, g.x, pairs, g.columns, rowStride, bytes, prepared);
    sortPairs(g.experts, pairs, order);
  }
  for (let task = begin; task < end; task++) {
    const c0 = task * g.block;
    const c1 = min(c0 + g.block, g.channels);
    for (let from = 0, to = 0; from < pairs; from = to) {
      to = endOfExpert(g.experts, order, from, pairs);
      const first = wordAt(g.experts, wordAt(order, from)) * g.channels;
      const last = first + g.channels - 1;
      const hasTiles = to - from > 1;
      for (let c = c0; c < c1; c += 4) {
        if ((kind == INT8 || kind == INT4) && hasTiles) unpackFour(kind, codes, rowStride, first + c, last, panel);
        const line = products + ((<usize>(c - c0)) << 2);
        for (let p = from; p < to; p += 2) {
          const two = p + 1 < to;
          const pair0 = wordAt(order, p);
          const pair1 = two ? wordAt(order, p + 1) : pair0;
          const x0 = prepared + <usize>pair0 * bytes;
          const x1 = prepared + <usize>pair1 * bytes;
          multiplyFour(kind, codes, scales, rowStride, shift, first + c, last, hasTiles, panel, x0, x1, two, scratch);
          const sums = scratch + LANES_BYTES;
          const f0 = f32x4.splat(factorOf(kind, factors, pair0));
          v128.store(line + <usize>pair0 * lineBytes, f32x4.mul(f0, v128.load(sums)));
          if (!two) continue;
          const f1 = f32x4.splat(factorOf(kind, factors, pair1));
          v128.store(line + <usize>pair1 * lineBytes, f32x4.mul(f1, v128.load(sums, 16)));
        }
      }
    }
    // In the order of the choices, whatever that of the experts.
    for (let token = 0; token < g.tokens; token++) {
      const firstPair = token * g.topK;
      for (let c = c0; c < c1; c += 4) {
        let product = products + <usize>firstPair * lineBytes + ((<usize>(c - c0)) << 2);
        let weight = g.weights + ((<usize>firstPair) << 2);
        let y = f32x4.mul(v128.load_splat<f32>(weight), v128.load(product));
        for (let j = 1; j < g.topK; j++) {
          product += lineBytes;
          weight += 4;
          y = f32x4.add(y, f32x4.mul(v128.load_splat<f32>(weight), v128.load(product)));
        }
        mixSome(g, token, c, y);
      }
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
