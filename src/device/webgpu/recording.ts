/** Recorded launches, and the uniform page that holds their parameters. */
import type { Cost } from "../device.js";
import type { KernelPipeline } from "./pipelines.js";

/** A launch that is ready to be encoded. */
export interface Launch {
  readonly label: string;
  readonly cost: Cost | undefined;
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  /** The parameters' place in the uniform buffer; none for kernels without parameters, and where the group says it. */
  readonly dynamicOffsets: readonly number[];
  readonly x: number;
  readonly y: number;
  readonly z: number;
}

export const noOffsets: readonly number[] = [];

/** A call into the implementation costs about a microsecond, and an argument more is felt: nothing is set twice. */
export function encode(pass: GPUComputePassEncoder, launches: readonly Launch[]): void {
  let pipeline: GPUComputePipeline | undefined;
  let group: GPUBindGroup | undefined;
  for (const launch of launches) {
    if (launch.pipeline !== pipeline) {
      pipeline = launch.pipeline;
      pass.setPipeline(pipeline);
    }
    if (launch.dynamicOffsets.length > 0) {
      group = undefined;
      pass.setBindGroup(0, launch.group, launch.dynamicOffsets);
    } else if (launch.group !== group) {
      group = launch.group;
      pass.setBindGroup(0, group);
    }
    if (launch.y === 1 && launch.z === 1) pass.dispatchWorkgroups(launch.x);
    else pass.dispatchWorkgroups(launch.x, launch.y, launch.z);
  }
}

/** Page numbers are never reused, so that a kernel's note of its last slot cannot match another page. */
let pages = 0;

/** The host's side of a uniform buffer: parameters in slots of the device's uniform alignment. */
export class UniformPage {
  bytes: Uint8Array;
  used = 0;
  private number: number;

  constructor(
    private readonly alignment: number,
    byteLength: number,
    private readonly grows: boolean,
  ) {
    this.bytes = new Uint8Array(byteLength);
    pages += 1;
    this.number = pages;
  }

  /**
   * Puts `data` into a slot and returns its offset, or −1 when the page is full. A kernel that is launched again with the
   * parameters of its last launch shares the slot.
   */
  place(data: Uint8Array, kernel: KernelPipeline): number {
    if (kernel.lastPage === this.number && isEqualAt(this.bytes, kernel.lastSlot, data)) return kernel.lastSlot;
    const end = this.used + Math.ceil(data.byteLength / this.alignment) * this.alignment;
    if (end > this.bytes.byteLength) {
      if (!this.grows) return -1;
      const larger = new Uint8Array(Math.max(end, this.bytes.byteLength * 2));
      larger.set(this.bytes);
      this.bytes = larger;
    }
    const slot = this.used;
    this.bytes.set(data, slot);
    this.used = end;
    kernel.lastPage = this.number;
    kernel.lastSlot = slot;
    return slot;
  }

  /** Empties the page. */
  reset(): void {
    this.used = 0;
    pages += 1;
    this.number = pages;
  }
}

function isEqualAt(page: Uint8Array, slot: number, data: Uint8Array): boolean {
  for (let i = 0; i < data.byteLength; i++) if (page[slot + i] !== data[i]) return false;
  return true;
}
