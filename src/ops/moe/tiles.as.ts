/**
 * The expert layer for many tokens: pairs (token, choice) are sorted by expert, packed, and multiplied in tiles of four of
 * them times eight weight rows, expert by expert.
 *
 * A *position* is a place in the sorted order. Each expert's begin at a multiple of four, the places between stay empty, so
 * that four packed tokens are of one expert.
 */
import { EpilogueArgs } from "../matmul/epilogue.inline.as";
import { packFour } from "../matmul/pack.inline.as";
import { finishBlock, PANEL_BYTES, widen } from "../matmul/panel.inline.as";
import { DEPTH, multiplyTile } from "../matmul/tile.inline.as";
import { BF16, F16, F32 } from "../matmul/weights/weights.inline.as";
import { load4, madd } from "../simd.inline.as";
import { MixArgs, mixSome } from "./mix.inline.as";

@unmanaged
class GroupArgs {
  /** [pairs]. */
  experts: usize;
  /** [expertCount, 2]: first position of each expert, pairs of it. */
  ranges: usize;
  /** [slots]: pair at each position, −1: empty. */
  order: usize;
  /** [pairs]: position of each pair. */
  positions: usize;
  pairs: i32;
  expertCount: i32;
  slots: i32;
}

/** Sorts pairs by expert, those of one expert in their order. One task. */
export function moeGroup(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<GroupArgs>(args);
  for (let e = 0; e < g.expertCount; e++) store<i32>(g.ranges + ((<usize>e) << 3), 0, 4);
  for (let pair = 0; pair < g.pairs; pair++) {
    const range = g.ranges + ((<usize>load<i32>(g.experts + ((<usize>pair) << 2))) << 3);
    store<i32>(range, load<i32>(range, 4) + 1, 4);
  }
  let first = 0;
  for (let e = 0; e < g.expertCount; e++) {
    const range = g.ranges + ((<usize>e) << 3);
    store<i32>(range, first);
    first += (load<i32>(range, 4) + 3) & ~3;
    store<i32>(range, 0, 4);
  }
  for (let position = 0; position < g.slots; position++) store<i32>(g.order + ((<usize>position) << 2), -1);
  for (let pair = 0; pair < g.pairs; pair++) {
    const range = g.ranges + ((<usize>load<i32>(g.experts + ((<usize>pair) << 2))) << 3);
    const count = load<i32>(range, 4);
    const position = load<i32>(range) + count;
    store<i32>(range, count + 1, 4);
    store<i32>(g.order + ((<usize>position) << 2), pair);
    store<i32>(g.positions + ((<usize>pair) << 2), position);
  }
}

@unmanaged
class PackArgs {
  /** Rows of `columns`. */
  x: usize;
  packed: usize;
  order: usize;
  columns: i32;
  rowStride: i32;
  slots: i32;
  /** Pairs of a row of x; 0: rows of x are positions. */
  topK: i32;
}

/** The row of x at a position; empty ones take that of the first of their four, which exists. */
// @ts-ignore: decorator
@inline
function rowAt(p: PackArgs, position: i32): usize {
  const pair = load<i32>(p.order + ((<usize>position) << 2));
  let row = pair < 0 ? position & ~3 : position;
  if (p.topK) row = load<i32>(p.order + ((<usize>row) << 2)) / p.topK;
  return p.x + ((<usize>row * <usize>p.columns) << 2);
}

/** Packs tokens in sorted order, see ../matmul/pack.as.ts. Tasks are groups of four positions. */
export function moePack(args: usize, begin: i32, end: i32, worker: i32): void {
  const p = changetype<PackArgs>(args);
  for (let group = begin; group < end; group++) {
    const t = group << 2;
    if (load<i32>(p.order + ((<usize>t) << 2)) < 0) continue;
    packFour(rowAt(p, t), rowAt(p, t + 1), rowAt(p, t + 2), rowAt(p, t + 3), p.columns, p.rowStride, p.packed, p.slots, t);
  }
}

@unmanaged
class TilesArgs extends EpilogueArgs {
  packed: usize;
  codes: usize;
  scales: usize;
  ranges: usize;
  /** For each worker: two panels, then two blocks of sums. */
  scratch: usize;
  scratchBytes: i32;
  slots: i32;
  rowStride: i32;
  groupShift: i32;
  /** Panels of eight columns of the result. */
  panels: i32;
  /** Tokens that a widened panel serves, a multiple of 4. */
  tokenBlock: i32;
}

/**
 * Tasks are (expert, panel), the panel running fastest: a busy expert's work is spread over all panels.
 * The result has positions for rows.
 */
// @ts-ignore: decorator
@inline
function multiplyExperts(kind: i32, args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<TilesArgs>(args);
  const codes = g.codes;
  const scales = g.scales;
  const rowStride = g.rowStride;
  const shift = g.groupShift;
  const panel = g.scratch + <usize>worker * <usize>g.scratchBytes;
  const upPanel = panel + PANEL_BYTES;
  const sums = upPanel + PANEL_BYTES;
  const upSums = sums + ((<usize>g.tokenBlock) << 5);
  for (let task = begin; task < end; task++) {
    const expert = task / g.panels;
    const n0 = (task % g.panels) << 3;
    const range = g.ranges + ((<usize>expert) << 3);
    const position = load<i32>(range);
    const count = load<i32>(range, 4);
    const row = expert * (g.gate ? 2 * g.outputs : g.outputs);
    const lastRow = row + g.outputs - 1;
    for (let t0 = 0; t0 < count; t0 += g.tokenBlock) {
      const tokens = min(g.tokenBlock, count - t0);
      for (let first = 0; first < rowStride; first += DEPTH) {
        const depth = min(DEPTH, rowStride - first);
        widen(kind, codes, scales, rowStride, shift, row + n0, lastRow, first, depth, panel);
        if (g.gate) {
          widen(kind, codes, scales, rowStride, shift, row + g.outputs + n0, lastRow + g.outputs, first, depth, upPanel);
        }
        let a = g.packed + ((<usize>first * <usize>g.slots + <usize>(position + t0) * <usize>depth) << 2);
        let at: usize = 0;
        for (let t = 0; t < tokens; t += 4) {
          multiplyTile(depth, a, panel, sums + at, first == 0);
          if (g.gate) multiplyTile(depth, a, upPanel, upSums + at, first == 0);
          a += (<usize>depth) << 4;
          at += 128;
        }
      }
      finishBlock(g, position + t0, tokens, n0, sums, upSums);
    }
  }
}

export function moeTilesF32(args: usize, begin: i32, end: i32, worker: i32): void {
  multiplyExperts(F32, args, begin, end, worker);
}

export function moeTilesF16(args: usize, begin: i32, end: i32, worker: i32): void {
  multiplyExperts(F16, args, begin, end, worker);
}

export function moeTilesBf16(args: usize, begin: i32, end: i32, worker: i32): void {
  multiplyExperts(BF16, args, begin, end, worker);
}

@unmanaged
class CombineArgs extends MixArgs {
  /** [slots, channels]. */
  products: usize;
  /** [T, topK]: rows of `products`. */
  positions: usize;
}

/** The weighted sums and what follows. Tasks are tokens. */
export function moeCombine(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<CombineArgs>(args);
  for (let token = begin; token < end; token++) {
    const firstPair = token * g.topK;
    for (let c = 0; c < g.channels; c += 4) {
      const width = min(4, g.channels - c);
      let y = f32x4.splat(0);
      for (let pair = firstPair; pair < firstPair + g.topK; pair++) {
        const position = load<i32>(g.positions + ((<usize>pair) << 2));
        const product = load4(g.products + ((<usize>position * <usize>g.channels + <usize>c) << 2), width);
        y = madd(v128.load_splat<f32>(g.weights + ((<usize>pair) << 2)), product, y);
      }
      mixSome(g, token, c, y);
    }
  }
}
