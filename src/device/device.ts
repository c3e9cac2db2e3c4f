/**
 * The device contract: memory, a queue of recorded kernel launches, capture and replay. No mathematics.
 *
 * Both backends record: `run` appends a launch to a list, `flush` hands the list over, `read` flushes by itself. Launches of
 * one device happen in the order of recording, each seeing all writes of those before it. Memory that is freed may be
 * handed out again at once, because whoever gets it is recorded later.
 *
 * Nothing on the hot path throws for reasons that only the driver knows: errors of recorded work reject the next `read`
 * or `idle`.
 */
import type { Allocation, BufferSlice, MemoryUse } from "./buffer.js";
import type { CpuDevice } from "./cpu/cpu-device.js";
import type { DeviceLostError } from "./errors.js";
import type { WebGpuDevice } from "./webgpu/webgpu-device.js";

/** One of the two backends. Operations switch on `kind` to launch their kernel. */
export type Device = WebGpuDevice | CpuDevice;

/** What a kernel launch costs, for profiles: bytes that must be read and written at least once, and floating-point operations. */
export interface Cost {
  readonly bytes: number;
  readonly operations: number;
}

/**
 * One kernel's share of a profile. Seconds are device time; on WebGPU each launch is timed in a pass of its own, whose beginning
 * and end count too (about 6 µs on an H100): a launch of a few microseconds looks two to three times as long as it is in a
 * recording. Compare such kernels with each other, not their sum with the wall time of a step.
 */
export interface ProfileEntry {
  readonly kernel: string;
  readonly calls: number;
  readonly seconds: number;
  readonly bytes: number;
  readonly operations: number;
}

export interface Profile {
  /** In the order of first use. */
  readonly entries: readonly ProfileEntry[];
  /** Wall time of the profiled function, seconds. */
  readonly seconds: number;
}

/** A list of launches recorded once, to be replayed without allocation, shape checks or new bind groups. */
export interface CapturedList extends Disposable {
  readonly launches: number;
  /** Appends all launches to the device's current recording. */
  replay(): void;
  dispose(): void;
}

/** What both backends offer. */
export interface DeviceContract extends AsyncDisposable {
  /** One line for people: "NVIDIA H100 (Vulkan)", "WebAssembly SIMD, 2 threads". */
  readonly label: string;
  /** True for a software rasteriser posing as a GPU: right, but slower than the CPU backend. */
  readonly isSoftware: boolean;
  readonly memory: MemoryUse;
  /** Sets `memory.peak` to `memory.live`. */
  resetPeak(): void;

  /** @throws {OutOfMemoryError} The contents are undefined. */
  allocate(byteLength: number, label?: string): Allocation;
  free(allocation: Allocation): void;

  /** Writes now, in order with the recorded launches (pending ones are handed over first). Length and offset are multiples of 4. */
  write(to: BufferSlice, data: ArrayBufferView): void;
  /**
   * Lends memory of `to.byteLength` bytes to `fill`, which writes them at its own pace; when the promise resolves they are
   * the device's, as after `write`. A file can be read straight into it. Several may be under way; a call waits while there
   * is nothing to lend. At most `LENT_BYTES` are lent without a copy. When it fails, the contents are undefined.
   */
  receive(to: BufferSlice, fill: (memory: Uint8Array) => Promise<void>): Promise<void>;
  /** Waits for all recorded work and returns a copy of the bytes. */
  read(from: BufferSlice): Promise<ArrayBuffer>;
  /** Recorded copy of `from.byteLength` bytes; multiples of 4. */
  copy(from: BufferSlice, to: BufferSlice): void;
  /** Recorded fill with zero bytes. */
  clear(slice: BufferSlice): void;

  /** Hands the recording over to the device. */
  flush(): void;
  /** Resolves when all recorded work is done. */
  idle(): Promise<void>;

  /**
   * Records what `f` launches into a list of its own instead of running it. Allocations made inside and freed inside belong
   * to the list until it is disposed, so that replays find them unshared. `f` must not read, write or flush.
   */
  capture(f: () => void): CapturedList;

  /**
   * Frees every tensor that `f` made and does not return (directly, in an array, or in a plain object). Scopes nest.
   * An async `f` must not interleave with another recording on the same device.
   */
  scope<T>(f: () => T): T;
  /** Registers a resource with the innermost scope. Tensors do this themselves. */
  track(resource: Disposable): void;

  /** Runs `f` with per-kernel timing; slower, and replays are timed launch by launch. */
  profile(f: () => void | Promise<void>): Promise<Profile>;

  /** Resolves (never rejects) when the device is lost or closed. */
  readonly lost: Promise<DeviceLostError>;
  readonly closed: boolean;
  close(): Promise<void>;
}
