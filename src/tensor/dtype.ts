/** Element types. Halves and bf16 are kept as 16-bit words; int8 and packed codes as bytes. */

export type DType = "f32" | "f16" | "bf16" | "i32" | "u32" | "i8" | "u8";

export const bytesPerElement = { f32: 4, i32: 4, u32: 4, f16: 2, bf16: 2, i8: 1, u8: 1 } as const satisfies Record<
  DType,
  number
>;

export type TypedArray = Float32Array | Int32Array | Uint32Array | Uint16Array | Int8Array | Uint8Array;

/** A view of `buffer` in the type that holds `dtype`: 16-bit floats come as their bit patterns. */
export function viewOf(dtype: DType, buffer: ArrayBuffer, byteOffset: number, length: number): TypedArray {
  switch (dtype) {
    case "f32":
      return new Float32Array(buffer, byteOffset, length);
    case "i32":
      return new Int32Array(buffer, byteOffset, length);
    case "u32":
      return new Uint32Array(buffer, byteOffset, length);
    case "f16":
    case "bf16":
      return new Uint16Array(buffer, byteOffset, length);
    case "i8":
      return new Int8Array(buffer, byteOffset, length);
    case "u8":
      return new Uint8Array(buffer, byteOffset, length);
  }
}
