/** Reads tokens (rows of x, K columns) as if they were padded with zeros. */
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

/** The largest magnitude of a row; NaN if it has one: bits without the sign are ordered as the numbers are, NaN last. */
export function largestMagnitude(row: usize, columns: i32): f32 {
  const magnitude = i32x4.splat(0x7fffffff);
  let v = i32x4.splat(0), u = v;
  let k = 0;
  for (; k + 8 <= columns; k += 8) {
    v = i32x4.max_s(v, v128.and(v128.load(row + ((<usize>k) << 2)), magnitude));
    u = i32x4.max_s(u, v128.and(v128.load(row + ((<usize>k) << 2), 16), magnitude));
  }
  for (; k < columns; k += 4) v = i32x4.max_s(v, v128.and(loadPadded(row, k, columns), magnitude));
  v = i32x4.max_s(v, u);
  v = i32x4.max_s(v, v128.shuffle<i32>(v, v, 2, 3, 2, 3));
  return reinterpret<f32>(max(i32x4.extract_lane(v, 0), i32x4.extract_lane(v, 1)));
}
