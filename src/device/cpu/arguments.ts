/** Arguments of kernels, and the 32-bit words that they become. */
import type { BufferSlice } from "../buffer.js";
import { DeviceError } from "../errors.js";

/** An f32 kernel argument. */
export class F32 {
  constructor(readonly value: number) {}
}

/** Marks a number as an f32 kernel argument; plain numbers are integers. */
export function f32(value: number): F32 {
  return new F32(value);
}

/** A word of a kernel's arguments: an integer or address; a slice's address; an f32; `undefined` is the null pointer. */
export type CpuArgument = number | boolean | BufferSlice | F32 | undefined;

const bits = new DataView(new ArrayBuffer(4));

/** The word of a kernel's argument number `index`; `addressOf` finds a slice in the memory. */
export function wordOf(
  value: CpuArgument,
  kernel: string,
  index: number,
  addressOf: (slice: BufferSlice) => number,
): number {
  if (typeof value === "number") {
    if ((value | 0) === value || value >>> 0 === value) return value | 0;
    throw new DeviceError(
      `${kernel}: argument ${index} expected a 32-bit integer, got ${value} (wrap floats in f32)`,
      kernel,
    );
  }
  if (value === undefined) return 0;
  if (typeof value === "boolean") return value ? 1 : 0;
  if (value instanceof F32) {
    bits.setFloat32(0, value.value);
    return bits.getInt32(0);
  }
  return addressOf(value) | 0;
}
