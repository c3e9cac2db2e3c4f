/** Reads tokens (rows of x, K columns) as if they were padded with zeros. */
import { maxF32 } from "../simd.inline.as";

/** Columns `k … k + 3` of a row of `columns`; those behind the end are zero. */
// @ts-ignore: decorator
@inline
export function loadPadded(row: usize, k: i32, columns: i32): v128 {
  return k + 4 <= columns ? v128.load(row + ((<usize>k) << 2)) : loadEdge(row, k, columns);
}

function loadEdge(row: usize, k: i32, columns: i32): v128 {
  let v = f32x4.splat(0);
  const at = row + ((<usize>k) << 2);
  if (k < columns) v = f32x4.replace_lane(v, 0, load<f32>(at));
  if (k + 1 < columns) v = f32x4.replace_lane(v, 1, load<f32>(at, 4));
  if (k + 2 < columns) v = f32x4.replace_lane(v, 2, load<f32>(at, 8));
  return v;
}

/** The largest magnitude of a row; NaN if it has one. */
export function largestMagnitude(row: usize, columns: i32): f32 {
  let largest = f32x4.splat(0);
  for (let k = 0; k < columns; k += 4) largest = f32x4.max(largest, f32x4.abs(loadPadded(row, k, columns)));
  return maxF32(largest);
}
