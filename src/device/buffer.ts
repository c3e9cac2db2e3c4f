/**
 * Memory of a device, as the layers above see it.
 *
 * An allocation is a block from the device's pool; a slice is a part of one. Kernels take slices.
 */

/** A block of device memory. `handle` is the backend's own (a GPUBuffer, or an address in the Wasm memory). */
export interface Allocation {
  readonly id: number;
  /** Bytes that were asked for, rounded up to 4. */
  readonly byteLength: number;
  readonly handle: unknown;
}

/** What a kernel reads or writes: `byteLength` bytes of an allocation from `byteOffset`. Tensors are slices. */
export interface BufferSlice {
  readonly allocation: Allocation;
  readonly byteOffset: number;
  readonly byteLength: number;
}

/** The most that a device's `receive` lends without a copy. */
export const LENT_BYTES = 4 * 2 ** 20;

/** Device memory in bytes. `live`: handed out now; `peak`: largest `live` since the last reset; `pooled`: kept for reuse. */
export interface MemoryUse {
  readonly live: number;
  readonly peak: number;
  readonly pooled: number;
  /** Number of blocks that were ever made by the driver (or grown from the arena); a replay makes none. */
  readonly blocksMade: number;
}
