/** The layout of packed tokens: see pack.as.ts. */
import { DEPTH, storeTransposed } from "./tile.inline.as";
import { loadPadded } from "./tokens.inline.as";

/** Packs the rows r0 … r3 of `columns` as tokens t … t + 3 of `padded`. */
export function packFour(
  r0: usize, r1: usize, r2: usize, r3: usize, columns: i32, rowStride: i32, packed: usize, padded: i32, t: i32,
): void {
  for (let first = 0; first < rowStride; first += DEPTH) {
    const depth = min(DEPTH, rowStride - first);
    let to = packed + ((<usize>first * <usize>padded + <usize>t * <usize>depth) << 2);
    for (let k = first; k < first + depth; k += 4) {
      const v0 = loadPadded(r0, k, columns);
      const v1 = loadPadded(r1, k, columns);
      const v2 = loadPadded(r2, k, columns);
      const v3 = loadPadded(r3, k, columns);
      storeTransposed(v0, v1, v2, v3, to, 16);
      to += 64;
    }
  }
}
