/** Weights of any kind widened to float32. A task is a row. */
import { BF16, F16, INT4, INT8, loadFour, rowBytes, rowScales } from "./weights.inline.as";

@unmanaged
class WidenArgs {
  codes: usize;
  scales: usize;
  /** [rows, rowStride]. */
  out: usize;
  rowStride: i32;
  groupShift: i32;
}

// @ts-ignore: decorator
@inline
function widenRows(kind: i32, args: usize, begin: i32, end: i32): void {
  const a = changetype<WidenArgs>(args);
  const bytes = rowBytes(kind, a.rowStride);
  const scaleBytes = rowScales(kind, a.rowStride, a.groupShift) << 2;
  for (let row = begin; row < end; row++) {
    const codes = a.codes + <usize>row * bytes;
    const scales = a.scales + <usize>row * scaleBytes;
    const out = a.out + (<usize>row * <usize>a.rowStride << 2);
    for (let c = 0; c < a.rowStride; c += 4) v128.store(out + ((<usize>c) << 2), loadFour(kind, codes, c, scales, a.groupShift));
  }
}

export function matmulWidenF16(args: usize, begin: i32, end: i32, worker: i32): void {
  widenRows(F16, args, begin, end);
}

export function matmulWidenBf16(args: usize, begin: i32, end: i32, worker: i32): void {
  widenRows(BF16, args, begin, end);
}

export function matmulWidenInt8(args: usize, begin: i32, end: i32, worker: i32): void {
  widenRows(INT8, args, begin, end);
}

export function matmulWidenInt4(args: usize, begin: i32, end: i32, worker: i32): void {
  widenRows(INT4, args, begin, end);
}
