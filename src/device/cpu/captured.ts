/** Captured lists, and the memory that belongs to them: allocations made while recording, and scratch. */
import type { Allocation, BufferSlice } from "../buffer.js";
import type { CapturedList } from "../device.js";
import { DeviceError } from "../errors.js";
import { Recording } from "./recording.js";

export class CpuAllocation implements Allocation {
  isFree = false;

  constructor(
    readonly owner: object,
    readonly id: number,
    readonly byteLength: number,
    /** The address. */
    readonly handle: number,
    /** The captured list during whose recording it was made. */
    readonly list: Captured | undefined,
  ) {}
}

/** Scratch memory: freed when neither the device nor a captured list uses it. */
export interface Scratch {
  readonly slice: BufferSlice;
  readonly bytesPerWorker: number;
  users: number;
}

/** A captured list: its launches, and the memory that replays need. */
export class Captured implements CapturedList {
  readonly recording = new Recording(new Int32Array(0), 0, true);
  /** Freed inside the capture, by size in the arena: reused inside, returned with the list. */
  readonly freed = new Map<number, number[]>();
  readonly scratch = new Set<Scratch>();
  isDisposed = false;

  constructor(
    private readonly onReplay: (list: Captured) => void,
    private readonly onDispose: (list: Captured) => void,
  ) {}

  get launches(): number {
    return this.recording.count;
  }

  replay(): void {
    if (this.isDisposed) throw new DeviceError("replay: the captured list was disposed");
    this.onReplay(this);
  }

  dispose(): void {
    if (this.isDisposed) return;
    this.isDisposed = true;
    this.onDispose(this);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
