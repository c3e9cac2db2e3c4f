/**
 * Reads weights of any kind as float32, four at a time; the layouts are in weight-matrix.ts.
 *
 * `kind` is a constant wherever these are called, so that each kernel holds the code of one kind only.
 */

// @ts-ignore: decorator
@inline
export const F32: i32 = 0;
// @ts-ignore: decorator
@inline
export const F16: i32 = 1;
// @ts-ignore: decorator
@inline
export const BF16: i32 = 2;
// @ts-ignore: decorator
@inline
export const INT8: i32 = 3;
// @ts-ignore: decorator
@inline
export const INT4: i32 = 4;

/** Bytes of the codes of one row. */
// @ts-ignore: decorator
@inline
export function rowBytes(kind: i32, rowStride: i32): usize {
  if (kind == F32) return (<usize>rowStride) << 2;
  if (kind == INT8) return <usize>rowStride;
  if (kind == INT4) return (<usize>rowStride) >> 1;
  return (<usize>rowStride) << 1;
}

/** Scales of one row. */
// @ts-ignore: decorator
@inline
export function rowScales(kind: i32, rowStride: i32, groupShift: i32): usize {
  if (kind == INT8) return 1;
  if (kind == INT4) return (<usize>rowStride + (1 << groupShift) - 1) >> groupShift;
  return 0;
}

/** 2^112: halves whose bits were moved into place are too small by this factor. */
// @ts-ignore: decorator
@inline
export const HALF_FACTOR: f32 = 5192296858534827628530496329220096.0;

/**
 * Halves in the upper 16 bits of each lane (lower bits zero) as f32 times 2^-112; exact, subnormal halves too.
 * The sign stays, exponent and fraction move down by three bits; the mask clears the copies of the sign that come in.
 */
// @ts-ignore: decorator
@inline
export function movedHalf(v: v128): v128 {
  return v128.and(i32x4.shr_s(v, 3), i32x4.splat(0x8fffe000));
}

/**
 * Columns `column … column + 3` of a row; `column` is a multiple of 4.
 *
 * @param row address of the row's codes.
 * @param scales address of the row's scales (int8, int4).
 * @param groupShift log2 of the columns that share a scale (int4).
 */
// @ts-ignore: decorator
@inline
export function loadFour(kind: i32, row: usize, column: i32, scales: usize, groupShift: i32): v128 {
  if (kind == F32) return v128.load(row + ((<usize>column) << 2));
  if (kind == BF16) return i32x4.shl(v128.load_ext<u16>(row + ((<usize>column) << 1)), 16);
  if (kind == F16) {
    const bits = i32x4.shl(v128.load_ext<u16>(row + ((<usize>column) << 1)), 16);
    return f32x4.mul(movedHalf(bits), f32x4.splat(HALF_FACTOR));
  }
  if (kind == INT8) {
    const codes = i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(row + <usize>column)));
    return f32x4.mul(f32x4.convert_i32x4_s(codes), v128.load_splat<f32>(scales));
  }
  // A block of 32 columns: column 8j + L is nibble j of lane L.
  const lanes = v128.load_ext<u16>(row + (<usize>(column & ~31) >> 1) + (<usize>(column & 4) << 1));
  const codes = v128.and(i32x4.shr_u(lanes, ((column & 31) >> 3) << 2), i32x4.splat(15));
  const values = f32x4.convert_i32x4_s(i32x4.sub(codes, i32x4.splat(8)));
  return f32x4.mul(values, v128.load_splat<f32>(scales + ((<usize>column >> groupShift) << 2)));
}
