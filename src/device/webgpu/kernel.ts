/** What callers say to run a WebGPU kernel. */
import type { BufferSlice } from "../buffer.js";
import type { Cost } from "../device.js";

/**
 * A WGSL program with the entry point `main`.
 *
 * Bindings, all in group 0: `@binding(0) var<uniform> p: Params;` where it has parameters, and storage buffers at bindings
 * 1, 2, … without a gap, `var<storage, read>` or `var<storage, read_write>`.
 */
export interface WebGpuKernel {
  /** For people and profiles: "rms-norm f16 wg=256". */
  readonly label: string;
  /** The text is the key of the pipeline cache. Keep the kernel object: then the text is not even looked at again. */
  readonly code: string;
}

/** One launch of a kernel. */
export interface WebGpuLaunch {
  /** Storage bindings 1, 2, … in order. */
  readonly buffers: readonly BufferSlice[];
  /** Binding 0, from a schema of `params`. */
  readonly params?: Uint8Array;
  /** Workgroups. */
  readonly grid: readonly [number, number?, number?];
  readonly cost?: Cost;
}
