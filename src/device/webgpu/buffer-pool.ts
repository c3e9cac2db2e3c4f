/**
 * Blocks of device memory in size classes, reused.
 *
 * A block that is freed goes back at once: whoever gets it is recorded later, so the device has read it by then. A captured
 * list holds the blocks that it uses; a held block that is freed waits until its last holder lets go.
 *
 * `live` and `peak` count the bytes that were asked for, so that both backends report the same; blocks are up to a quarter
 * larger (a sixteenth above 32 MiB).
 */
import type { Allocation, MemoryUse } from "../buffer.js";
import { OutOfMemoryError } from "../errors.js";
import type { ErrorInbox } from "./error-inbox.js";
import { bufferUsage } from "./flags.js";

/** One GPUBuffer of the pool. */
export interface Block {
  readonly id: number;
  readonly byteLength: number;
  readonly buffer: GPUBuffer;
  /** Bytes asked for by the present owner. */
  asked: number;
  /** Captured lists that use the block. */
  holders: number;
  isFree: boolean;
  /** The driver had no memory for it; it must not be handed out again. */
  isBroken: boolean;
  /** Keys of cached bind groups that name the block. */
  readonly bindGroupKeys: Set<string>;
}

/** What `allocate` hands out; a new one each time, so that use after free is noticed. */
export class WebGpuAllocation implements Allocation {
  isFreed = false;

  constructor(
    readonly id: number,
    readonly byteLength: number,
    /** The pool that made it: a device refuses the tensors of another. */
    readonly pool: BufferPool,
    readonly block: Block,
    readonly label: string | undefined,
  ) {}

  get handle(): GPUBuffer {
    return this.block.buffer;
  }
}

export interface BufferPoolOptions {
  readonly device: GPUDevice;
  readonly maxBufferBytes: number;
  readonly maxPooledBytes: number;
  readonly inbox: ErrorInbox;
  readonly counters: { buffers: number };
  /** Called when a block is about to be destroyed. */
  readonly onDestroy: (block: Block) => void;
}

const mebibyte = 2 ** 20;

/** Bytes of an allocation: whole words, at least one. */
export function wholeWords(bytes: number): number {
  return Math.max(4, Math.ceil(bytes / 4) * 4);
}

/** The size of the block for `bytes`: 4 classes an octave up to 32 MiB, 16 above. */
export function sizeClass(bytes: number): number {
  if (bytes <= 256) return 256;
  const octave = 2 ** Math.floor(Math.log2(bytes));
  const step = octave / (octave < 32 * mebibyte ? 4 : 16);
  return Math.ceil(bytes / step) * step;
}

export class BufferPool {
  private readonly free = new Map<number, Block[]>();
  /** Blocks that recorded but not yet submitted launches may still use. */
  private doomed: Block[] = [];
  private readonly use = { live: 0, peak: 0, pooled: 0, blocksMade: 0 };
  private allocations = 0;

  constructor(private readonly options: BufferPoolOptions) {}

  get memory(): MemoryUse {
    return this.use;
  }

  resetPeak(): void {
    this.use.peak = this.use.live;
  }

  /** @throws {OutOfMemoryError} One buffer cannot be that large. */
  allocate(bytes: number, label?: string): WebGpuAllocation {
    const asked = wholeWords(bytes);
    const { maxBufferBytes } = this.options;
    if (!(asked <= maxBufferBytes)) {
      const advice = "One buffer of this adapter cannot be larger than that limit: split the tensor.";
      throw new OutOfMemoryError(asked, this.use.live, maxBufferBytes, advice);
    }
    const byteLength = Math.min(sizeClass(asked), Math.floor(maxBufferBytes / 4) * 4);
    const block = this.free.get(byteLength)?.pop();
    if (block) this.use.pooled -= byteLength;
    return this.handOut(block ?? this.make(byteLength, asked, label), asked, label);
  }

  /** Gives a block that a captured list kept to a new owner. */
  passOn(block: Block, bytes: number, label?: string): WebGpuAllocation {
    this.use.live -= block.asked;
    return this.handOut(block, wholeWords(bytes), label);
  }

  private handOut(block: Block, asked: number, label: string | undefined): WebGpuAllocation {
    block.isFree = false;
    block.asked = asked;
    this.use.live += asked;
    this.use.peak = Math.max(this.use.peak, this.use.live);
    this.allocations += 1;
    return new WebGpuAllocation(this.allocations, asked, this, block, label);
  }

  /** The owner is done with the block. */
  release(block: Block): void {
    block.isFree = true;
    if (block.holders === 0) this.take(block);
  }

  hold(block: Block): void {
    block.holders += 1;
  }

  letGo(block: Block): void {
    block.holders -= 1;
    if (block.holders === 0 && block.isFree) this.take(block);
  }

  private take(block: Block): void {
    this.use.live -= block.asked;
    block.asked = 0;
    if (block.isBroken || this.use.pooled + block.byteLength > this.options.maxPooledBytes) {
      this.doomed.push(block);
      return;
    }
    const list = this.free.get(block.byteLength);
    if (list) list.push(block);
    else this.free.set(block.byteLength, [block]);
    this.use.pooled += block.byteLength;
  }

  /** Destroys what was given up; call it when nothing is recorded but not submitted. */
  destroyDoomed(): void {
    if (this.doomed.length === 0) return;
    const doomed = this.doomed;
    this.doomed = [];
    for (const block of doomed) {
      this.options.onDestroy(block);
      block.buffer.destroy();
    }
  }

  private make(byteLength: number, asked: number, label: string | undefined): Block {
    const { device, inbox, counters } = this.options;
    device.pushErrorScope("out-of-memory");
    const buffer = device.createBuffer({
      ...(label === undefined ? {} : { label }),
      size: byteLength,
      usage: bufferUsage.storage | bufferUsage.copySource | bufferUsage.copyTarget,
    });
    const scope = device.popErrorScope();
    counters.buffers += 1;
    this.use.blocksMade += 1;
    const block: Block = {
      id: this.use.blocksMade,
      byteLength,
      buffer,
      asked: 0,
      holders: 0,
      isFree: false,
      isBroken: false,
      bindGroupKeys: new Set(),
    };
    const { live, pooled } = this.use;
    inbox.watch(
      scope.then((error) => {
        if (!error) return;
        block.isBroken = true;
        // The driver does not tell how much there is; what we had from it is the best estimate.
        const advice = "Free tensors, use a smaller context or batch, or weights of fewer bits.";
        inbox.addCause(new OutOfMemoryError(asked, live, live + pooled, advice));
      }),
    );
    return block;
  }
}
