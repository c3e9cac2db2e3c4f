/**
 * Bytes of a tensor of any safetensors dtype as numbers.
 *
 * Precision toFloat64 is exact except for I64 and U64 beyond 2⁵³; toFloat32 rounds F64 and wide integers to nearest.
 * Assumes   a little-endian machine, as WebAssembly does and every JavaScript engine in use.
 * Source    F8 formats: Micikevicius et al. 2022, arXiv 2209.05433 (E4M3 has no infinity; E5M2 is the upper byte of f16).
 */
import { bf16ToF32, f16ToF32 } from "./halves.js";
import { type SafetensorsDtype, safetensorsDtypeBytes } from "./safetensors-dtype.js";

/** @returns float32 values; for aligned F32 bytes a view of them, not a copy. */
export function toFloat32(dtype: SafetensorsDtype, bytes: Uint8Array): Float32Array {
  const values = typedView(dtype, bytes);
  return values instanceof Float32Array ? values : Float32Array.from(values, Number);
}

/** @returns float64 values; for aligned F64 bytes a view of them, not a copy. */
export function toFloat64(dtype: SafetensorsDtype, bytes: Uint8Array): Float64Array {
  const values = typedView(dtype, bytes);
  return values instanceof Float64Array ? values : Float64Array.from(values, Number);
}

type Values =
  | Float64Array
  | Float32Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array;

/** The values without loss: small floats as float32, all else as its own typed array. */
function typedView(dtype: SafetensorsDtype, bytes: Uint8Array): Iterable<number | bigint> & Values {
  const size = safetensorsDtypeBytes[dtype];
  if (bytes.byteLength % size !== 0) {
    throw new RangeError(`${dtype}: bytes expected a multiple of ${size}, got ${bytes.byteLength}`);
  }
  const { buffer, byteOffset } = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  const length = bytes.byteLength / size;
  switch (dtype) {
    case "F64":
      return new Float64Array(buffer, byteOffset, length);
    case "F32":
      return new Float32Array(buffer, byteOffset, length);
    case "F16":
      return f16ToF32(new Uint16Array(buffer, byteOffset, length));
    case "BF16":
      return bf16ToF32(new Uint16Array(buffer, byteOffset, length));
    case "F8_E4M3":
      return Float32Array.from(bytes, f8e4m3ToNumber);
    case "F8_E5M2":
      return f16ToF32(Uint16Array.from(bytes, (code) => code << 8));
    case "I64":
      return new BigInt64Array(buffer, byteOffset, length);
    case "U64":
      return new BigUint64Array(buffer, byteOffset, length);
    case "I32":
      return new Int32Array(buffer, byteOffset, length);
    case "U32":
      return new Uint32Array(buffer, byteOffset, length);
    case "I16":
      return new Int16Array(buffer, byteOffset, length);
    case "U16":
      return new Uint16Array(buffer, byteOffset, length);
    case "I8":
      return new Int8Array(buffer, byteOffset, length);
    case "U8":
    case "BOOL":
      return bytes;
    default:
      return dtype satisfies never;
  }
}

/** 1 sign, 4 exponent (bias 7), 3 fraction; the largest exponent is ordinary but for the code that is NaN. */
function f8e4m3ToNumber(code: number): number {
  const sign = code & 0x80 ? -1 : 1;
  const exponent = (code >>> 3) & 0xf;
  const fraction = code & 7;
  if (exponent === 0xf && fraction === 7) return Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -9 : (8 + fraction) * 2 ** (exponent - 10));
}
