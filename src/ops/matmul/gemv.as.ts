/** Products for few tokens: one weight row at a time serves all of them from the L1 cache. Tasks are columns of the result. */
import { dotRow } from "./dot.inline.as";
import { EpilogueArgs, finishOne } from "./epilogue.inline.as";
import { BF16, F16, F32, INT4, INT8 } from "./weights/weights.inline.as";

@unmanaged
class RowsArgs extends EpilogueArgs {
  prepared: usize;
  factors: usize;
  codes: usize;
  scales: usize;
  tokens: i32;
  preparedBytes: i32;
  rowStride: i32;
  groupShift: i32;
}

// @ts-ignore: decorator
@inline
function multiplyRows(kind: i32, args: usize, begin: i32, end: i32): void {
  const g = changetype<RowsArgs>(args);
  for (let n = begin; n < end; n++) {
    for (let t = 0; t < g.tokens; t++) {
      const x = g.prepared + <usize>t * <usize>g.preparedBytes;
      let z = dotRow(kind, g.codes, g.scales, n, g.rowStride, g.groupShift, x);
      let up: f32 = g.gate ? dotRow(kind, g.codes, g.scales, g.outputs + n, g.rowStride, g.groupShift, x) : 0;
      if (kind != F32 && kind != BF16) {
        const factor = load<f32>(g.factors + ((<usize>t) << 2));
        z *= factor;
        up *= factor;
      }
      finishOne(g, t, n, z, up);
    }
  }
}

export function matmulRowsF32(args: usize, begin: i32, end: i32, worker: i32): void {
  multiplyRows(F32, args, begin, end);
}

export function matmulRowsF16(args: usize, begin: i32, end: i32, worker: i32): void {
  multiplyRows(F16, args, begin, end);
}

export function matmulRowsBf16(args: usize, begin: i32, end: i32, worker: i32): void {
  multiplyRows(BF16, args, begin, end);
}

export function matmulRowsInt8(args: usize, begin: i32, end: i32, worker: i32): void {
  multiplyRows(INT8, args, begin, end);
}

export function matmulRowsInt4(args: usize, begin: i32, end: i32, worker: i32): void {
  multiplyRows(INT4, args, begin, end);
}
