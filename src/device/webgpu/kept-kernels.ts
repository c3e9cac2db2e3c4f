/**
 * Kernels by variant, each made once: devices find a pipeline by the kernel object, so that nobody builds or compares texts on
 * the way of a launch. Every room has a shelf of its own.
 */
import type { WebGpuKernel } from "./kernel.js";

export class KeptKernels {
  private readonly byKey = new Map<string, WebGpuKernel>();
  private readonly byMaker = new Map<unknown, KeptKernels>();

  get(key: string, make: () => WebGpuKernel): WebGpuKernel {
    let kernel = this.byKey.get(key);
    if (!kernel) {
      kernel = make();
      this.byKey.set(key, kernel);
    }
    return kernel;
  }

  /** The kernel that `make` gives for a variant that JSON can tell from all others. */
  of<V>(make: (variant: V) => WebGpuKernel, variant: V): WebGpuKernel {
    let own = this.byMaker.get(make);
    if (!own) {
      own = new KeptKernels();
      this.byMaker.set(make, own);
    }
    return own.get(JSON.stringify(variant), () => make(variant));
  }
}
