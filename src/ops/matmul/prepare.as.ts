/** Prepares tokens for the one-row products (prepare.inline.as.ts), once a product. Tasks are tokens. */
import { normRow } from "../rms-norm/norm.inline.as";
import { prepareToken } from "./prepare.inline.as";
import { BF16, F16, F32, INT4, INT8 } from "./weights/weights.inline.as";

@unmanaged
class PrepareArgs {
  /** [T, columns] f32. */
  x: usize;
  prepared: usize;
  /** [T]: what the products of each token must be multiplied with. */
  factors: usize;
  columns: i32;
  rowStride: i32;
  /** Bytes from one prepared token to the next. */
  preparedBytes: i32;
  /** The weight of a norm of the rows of x, or 0; the normed rows, which are prepared then. */
  normWeight: usize;
  normed: usize;
  normEps: f32;
}

// @ts-ignore: decorator
@inline
function prepare(kind: i32, args: usize, begin: i32, end: i32): void {
  const p = changetype<PrepareArgs>(args);
  for (let token = begin; token < end; token++) {
    const offset = <usize>token * ((<usize>p.columns) << 2);
    let row = p.x + offset;
    if (p.normWeight) {
      normRow(row, p.normWeight, p.normed + offset, p.columns, p.normEps);
      row = p.normed + offset;
    }
    const to = p.prepared + <usize>token * <usize>p.preparedBytes;
    store<f32>(p.factors + ((<usize>token) << 2), prepareToken(kind, row, to, p.columns, p.rowStride));
  }
}

export function matmulPrepareF32(args: usize, begin: i32, end: i32, worker: i32): void {
  prepare(F32, args, begin, end);
}

export function matmulPrepareF16(args: usize, begin: i32, end: i32, worker: i32): void {
  prepare(F16, args, begin, end);
}

export function matmulPrepareBf16(args: usize, begin: i32, end: i32, worker: i32): void {
  prepare(BF16, args, begin, end);
}

export function matmulPrepareInt8(args: usize, begin: i32, end: i32, worker: i32): void {
  prepare(INT8, args, begin, end);
}

export function matmulPrepareInt4(args: usize, begin: i32, end: i32, worker: i32): void {
  prepare(INT4, args, begin, end);
}
