/** Bytes between host and device: kept staging buffers, because fresh ones cost as much as the copy. */
import { LENT_BYTES } from "../buffer.js";
import { bufferUsage, mapMode } from "./flags.js";

const stagingBytes = LENT_BYTES;
/** A write cannot wait for a buffer to be mapped again, so there are a few; each is made when first needed. */
const maxStagingBuffers = 8;
/** Below this the direct path is faster. */
export const stagedWriteBytes = 2 ** 20;
const directPieceBytes = 64 * 2 ** 20;

export class UploadStaging {
  private readonly mapped: GPUBuffer[] = [];
  /** Those who wait for a mapped buffer, first come first served. */
  private readonly waiting: ((staging: GPUBuffer) => void)[] = [];
  private made = 0;

  constructor(
    private readonly device: GPUDevice,
    private readonly counters: { buffers: number; submissions: number },
  ) {}

  write(to: GPUBuffer, offset: number, bytes: Uint8Array): void {
    let done = 0;
    while (bytes.byteLength - done >= stagedWriteBytes) {
      const staging = this.mapped.pop() ?? this.make();
      if (!staging) break;
      const size = Math.min(stagingBytes, bytes.byteLength - done);
      new Uint8Array(staging.getMappedRange(0, size)).set(bytes.subarray(done, done + size));
      this.send(staging, size, to, offset + done);
      done += size;
    }
    for (; done < bytes.byteLength; done += directPieceBytes) {
      const piece = bytes.subarray(done, done + directPieceBytes);
      this.device.queue.writeBuffer(to, offset + done, piece, 0, piece.byteLength);
    }
  }

  /**
   * A mapped buffer of `LENT_BYTES` bytes, once there is one: to be given to `send` or `putBack`. Never settles when the
   * device is lost meanwhile.
   */
  take(): Promise<GPUBuffer> {
    const staging = this.mapped.pop() ?? this.make();
    return staging ? Promise.resolve(staging) : new Promise((resolve) => this.waiting.push(resolve));
  }

  /** Copies the buffer's first `size` bytes, and has it mapped again. */
  send(staging: GPUBuffer, size: number, to: GPUBuffer, offset: number): void {
    staging.unmap();
    const encoder = this.device.createCommandEncoder({ label: "upload" });
    encoder.copyBufferToBuffer(staging, 0, to, offset, size);
    this.device.queue.submit([encoder.finish()]);
    this.counters.submissions += 1;
    this.map(staging);
  }

  /** The buffer is not needed after all. Views of its mapped range become empty, so that a latecomer cannot write to it. */
  putBack(staging: GPUBuffer): void {
    staging.unmap();
    this.map(staging);
  }

  private map(staging: GPUBuffer): void {
    staging.mapAsync(mapMode.write).then(
      () => {
        const next = this.waiting.shift();
        if (next) next(staging);
        else this.mapped.push(staging);
      },
      // Only a lost device refuses, and with it all staging is gone.
      () => undefined,
    );
  }

  private make(): GPUBuffer | undefined {
    if (this.made === maxStagingBuffers) return undefined;
    this.made += 1;
    this.counters.buffers += 1;
    return this.device.createBuffer({
      label: "upload staging",
      size: stagingBytes,
      usage: bufferUsage.mapWrite | bufferUsage.copySource,
      mappedAtCreation: true,
    });
  }
}

/** Kept at most, in all. */
const maxReadbackBytes = 64 * 2 ** 20;

export class ReadbackStaging {
  private readonly free = new Map<number, GPUBuffer[]>();
  private kept = 0;

  constructor(
    private readonly device: GPUDevice,
    private readonly counters: { buffers: number },
  ) {}

  take(bytes: number): GPUBuffer {
    const size = sizeFor(bytes);
    const known = this.free.get(size)?.pop();
    if (known) {
      this.kept -= size;
      return known;
    }
    this.counters.buffers += 1;
    return this.device.createBuffer({
      label: "read staging",
      size,
      usage: bufferUsage.mapRead | bufferUsage.copyTarget,
    });
  }

  /** `buffer` is not mapped any more. */
  give(buffer: GPUBuffer): void {
    if (this.kept + buffer.size > maxReadbackBytes) {
      buffer.destroy();
      return;
    }
    this.kept += buffer.size;
    const list = this.free.get(buffer.size);
    if (list) list.push(buffer);
    else this.free.set(buffer.size, [buffer]);
  }
}

/** Powers of two while they are small; large reads are rare and get what they need. */
function sizeFor(bytes: number): number {
  return bytes <= 2 ** 20 ? Math.max(256, 2 ** Math.ceil(Math.log2(bytes))) : Math.ceil(bytes / 65_536) * 65_536;
}
