/**
 * Products for many tokens: eight weight rows at a time are widened into a panel in the L1 cache that serves a block of
 * packed tokens. Tasks are (block of tokens, panel), the panel running fastest.
 *
 * An element is summed over blocks of DEPTH columns in order, whatever the split into tasks.
 */
import { EpilogueArgs } from "./epilogue.inline.as";
import { finishBlock, PANEL_BYTES, widen } from "./panel.inline.as";
import { DEPTH, multiplyTile } from "./tile.inline.as";
import { BF16, F16, F32 } from "./weights/weights.inline.as";

@unmanaged
class TilesArgs extends EpilogueArgs {
  packed: usize;
  codes: usize;
  scales: usize;
  /** For each worker: two panels, then two blocks of sums. */
  scratch: usize;
  scratchBytes: i32;
  tokens: i32;
  rowStride: i32;
  groupShift: i32;
  /** Panels of eight columns of the result. */
  panels: i32;
  /** Tokens of a task, a multiple of 4. */
  tokenBlock: i32;
}

// @ts-ignore: decorator
@inline
function multiplyTiles(kind: i32, args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<TilesArgs>(args);
  const padded = <usize>((g.tokens + 3) & ~3);
  const codes = g.codes;
  const scales = g.scales;
  const rowStride = g.rowStride;
  const shift = g.groupShift;
  const panel = g.scratch + <usize>worker * <usize>g.scratchBytes;
  const upPanel = panel + PANEL_BYTES;
  const sums = upPanel + PANEL_BYTES;
  const upSums = sums + ((<usize>g.tokenBlock) << 5);
  for (let task = begin; task < end; task++) {
    const n0 = (task % g.panels) << 3;
    const t0 = (task / g.panels) * g.tokenBlock;
    const tokens = min(g.tokenBlock, g.tokens - t0);
    for (let first = 0; first < g.rowStride; first += DEPTH) {
      const depth = min(DEPTH, g.rowStride - first);
      widen(kind, codes, scales, rowStride, shift, n0, g.outputs - 1, first, depth, panel);
      if (g.gate) {
        widen(kind, codes, scales, rowStride, shift, g.outputs + n0, 2 * g.outputs - 1, first, depth, upPanel);
      }
      let a = g.packed + ((<usize>first * padded + <usize>t0 * <usize>depth) << 2);
      let at: usize = 0;
      for (let t = 0; t < tokens; t += 4) {
        multiplyTile(depth, a, panel, sums + at, first == 0);
        if (g.gate) multiplyTile(depth, a, upPanel, upSums + at, first == 0);
        a += (<usize>depth) << 4;
        at += 128;
      }
    }
    finishBlock(g, t0, tokens, n0, sums, upSums);
  }
}

export function matmulTilesF32(args: usize, begin: i32, end: i32, worker: i32): void {
  multiplyTiles(F32, args, begin, end, worker);
}

export function matmulTilesF16(args: usize, begin: i32, end: i32, worker: i32): void {
  multiplyTiles(F16, args, begin, end, worker);
}

export function matmulTilesBf16(args: usize, begin: i32, end: i32, worker: i32): void {
  multiplyTiles(BF16, args, begin, end, worker);
}
