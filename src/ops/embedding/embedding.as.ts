/** Embedding look-up. Tasks are tokens. */
import { BF16, F16, F32, INT4, INT8, loadFour, rowBytes, rowScales } from "../matmul/weights/weights.inline.as";

@unmanaged
class EmbeddingArgs {
  /** i32 [T, tokenWords], the id first. */
  tokens: usize;
  tokenWords: i32;
  codes: usize;
  scales: usize;
  /** [T, columns]. */
  out: usize;
  rows: i32;
  columns: i32;
  rowStride: i32;
  groupShift: i32;
}

// @ts-ignore: decorator
@inline
function lookUp(kind: i32, args: usize, begin: i32, end: i32): void {
  const e = changetype<EmbeddingArgs>(args);
  const columns = e.columns;
  const groupShift = e.groupShift;
  for (let t = begin; t < end; t++) {
    const id = load<i32>(e.tokens + ((<usize>t * <usize>e.tokenWords) << 2));
    let to = e.out + ((<usize>t * <usize>columns) << 2);
    if (<u32>id >= <u32>e.rows) {
      memory.fill(to, 0, (<usize>columns) << 2);
      continue;
    }
    const row = e.codes + <usize>id * rowBytes(kind, e.rowStride);
    const scales = e.scales + ((<usize>id * rowScales(kind, e.rowStride, groupShift)) << 2);
    let k = 0;
    for (; k + 4 <= columns; k += 4) {
      v128.store(to, loadFour(kind, row, k, scales, groupShift));
      to += 16;
    }
    if (k < columns) {
      const v = loadFour(kind, row, k, scales, groupShift);
      store<f32>(to, f32x4.extract_lane(v, 0));
      if (k + 1 < columns) store<f32>(to, f32x4.extract_lane(v, 1), 4);
      if (k + 2 < columns) store<f32>(to, f32x4.extract_lane(v, 2), 8);
    }
  }
}

export function embeddingF32(args: usize, begin: i32, end: i32, worker: i32): void {
  lookUp(F32, args, begin, end);
}

export function embeddingF16(args: usize, begin: i32, end: i32, worker: i32): void {
  lookUp(F16, args, begin, end);
}

export function embeddingBf16(args: usize, begin: i32, end: i32, worker: i32): void {
  lookUp(BF16, args, begin, end);
}

export function embeddingInt8(args: usize, begin: i32, end: i32, worker: i32): void {
  lookUp(INT8, args, begin, end);
}

export function embeddingInt4(args: usize, begin: i32, end: i32, worker: i32): void {
  lookUp(INT4, args, begin, end);
}
