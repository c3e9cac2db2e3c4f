/**
 * Packs tokens for the tiled product: for each block of DEPTH columns and each four tokens, the four values of a column
 * side by side. Padded with zeros to `rowStride` columns; missing tokens of the last four repeat the last one. Tasks are
 * groups of four tokens.
 */
import { normRow } from "../rms-norm/norm.inline.as";
import { packFour } from "./pack.inline.as";

@unmanaged
class PackArgs {
  /** [tokens, columns] f32. */
  x: usize;
  packed: usize;
  tokens: i32;
  columns: i32;
  rowStride: i32;
  /** The weight of a norm of the rows of x, or 0; the normed rows, which are packed then. */
  normWeight: usize;
  normed: usize;
  normEps: f32;
}

export function matmulPackTokens(args: usize, begin: i32, end: i32, worker: i32): void {
  const p = changetype<PackArgs>(args);
  const rowBytes = (<usize>p.columns) << 2;
  const padded = (p.tokens + 3) & ~3;
  const last = p.tokens - 1;
  for (let group = begin; group < end; group++) {
    const t = group << 2;
    if (p.normWeight) {
      for (let i = t; i < min(t + 4, p.tokens); i++) {
        const row = <usize>i * rowBytes;
        normRow(p.x + row, p.normWeight, p.normed + row, p.columns, p.normEps);
      }
    }
    const from = p.normWeight ? p.normed : p.x;
    const r0 = from + <usize>t * rowBytes;
    const r1 = from + <usize>min(t + 1, last) * rowBytes;
    const r2 = from + <usize>min(t + 2, last) * rowBytes;
    const r3 = from + <usize>min(t + 3, last) * rowBytes;
    packFour(r0, r1, r2, r3, p.columns, p.rowStride, p.packed, padded, t);
  }
}
