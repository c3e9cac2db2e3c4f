/**
 * The element types of safetensors files and their sizes.
 *
 * Source  the dtype names of the safetensors format (huggingface/safetensors, README "Format").
 */

/** Bytes of one element. */
export const safetensorsDtypeBytes = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
} as const;

export type SafetensorsDtype = keyof typeof safetensorsDtypeBytes;

/** Every dtype that is read and written. */
export const safetensorsDtypes = Object.keys(safetensorsDtypeBytes) as readonly SafetensorsDtype[]; // keys of a const object

/** True when `value` is the name of a known dtype. */
export function isSafetensorsDtype(value: unknown): value is SafetensorsDtype {
  return typeof value === "string" && Object.hasOwn(safetensorsDtypeBytes, value);
}

/** A size, an index or an offset: a whole number from 0 to 2⁵³ − 1, and not −0. */
export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && !Object.is(value, -0) && (value as number) >= 0; // isSafeInteger takes numbers only
}

/**
 * Bytes of a tensor, or `undefined` when the product leaves the integers that a number holds exactly (2⁵³).
 * A factor 0 gives 0 whatever else the shape says.
 */
export function tensorBytes(dtype: SafetensorsDtype, shape: readonly number[]): number | undefined {
  if (shape.includes(0)) return 0;
  let bytes: number = safetensorsDtypeBytes[dtype];
  for (const length of shape) {
    bytes *= length;
    if (!Number.isSafeInteger(bytes)) return undefined;
  }
  return bytes;
}
