/** Recorded copies and fills of any whole words: chooses the kernel, and splits what one binding or one grid cannot hold. */
import type { BufferSlice } from "../buffer.js";
import { DeviceError } from "../errors.js";
import type { WebGpuKernel, WebGpuLaunch } from "./kernel.js";
import { clearKernel, clearParams, copyKernel, copyParams, type MoveElement, moveWorkgroup } from "./move.wgsl.js";

/** What the mover needs of a device. */
export interface Launcher {
  readonly limits: {
    readonly maxBindingBytes: number;
    readonly maxWorkgroupsPerDimension: number;
    readonly offsetAlignment: number;
  };
  run(kernel: WebGpuKernel, launch: WebGpuLaunch): void;
}

const copyKernels = {
  apart: { u32: copyKernel("u32", false), vec4u: copyKernel("vec4u", false) },
  same: { u32: copyKernel("u32", true), vec4u: copyKernel("vec4u", true) },
};
const clearKernels = { u32: clearKernel("u32"), vec4u: clearKernel("vec4u") };
const elementBytes = { u32: 4, vec4u: 16 } as const satisfies Record<MoveElement, number>;

export class Mover {
  constructor(private readonly device: Launcher) {}

  copy(from: BufferSlice, to: BufferSlice): void {
    const bytes = from.byteLength;
    if (to.byteLength < bytes) throw new DeviceError(`copy: ${bytes} bytes into a slice of ${to.byteLength}`);
    checkWords("copy", from, bytes);
    checkWords("copy", to, bytes);
    const isSame = from.allocation === to.allocation;
    const distance = Math.abs(from.byteOffset - to.byteOffset);
    if (isSame && distance < bytes) throw new DeviceError("copy: the ranges overlap");
    const { maxBindingBytes, offsetAlignment } = this.device.limits;
    const low = Math.min(from.byteOffset, to.byteOffset);
    if (isSame && aligned(low, distance + bytes, offsetAlignment).byteLength <= maxBindingBytes) {
      const both = aligned(low, distance + bytes, offsetAlignment);
      this.inParts(bytes, [from.byteOffset, to.byteOffset], (element, begin, size) => {
        const count = size / elementBytes[element];
        const { grid, width } = this.gridOf(count);
        this.device.run(copyKernels.same[element], {
          buffers: [{ allocation: from.allocation, ...both }],
          params: copyParams.write({
            count,
            width,
            sourceAt: (from.byteOffset + begin - both.byteOffset) / elementBytes[element],
            sinkAt: (to.byteOffset + begin - both.byteOffset) / elementBytes[element],
          }),
          grid,
          cost: { bytes: 2 * size, operations: 0 },
        });
      });
      return;
    }
    this.inParts(bytes, [from.byteOffset, to.byteOffset], (element, begin, size) => {
      // The bound ranges of one buffer must stay apart, whose starts are rounded down.
      const most = isSame ? distance - offsetAlignment : Infinity;
      this.inPieces(begin, size, most, (at, length) => {
        const source = aligned(from.byteOffset + at, length, offsetAlignment);
        const sink = aligned(to.byteOffset + at, length, offsetAlignment);
        const count = length / elementBytes[element];
        const { grid, width } = this.gridOf(count);
        this.device.run(copyKernels.apart[element], {
          buffers: [
            { allocation: from.allocation, ...source },
            { allocation: to.allocation, ...sink },
          ],
          params: copyParams.write({
            count,
            width,
            sourceAt: (from.byteOffset + at - source.byteOffset) / elementBytes[element],
            sinkAt: (to.byteOffset + at - sink.byteOffset) / elementBytes[element],
          }),
          grid,
          cost: { bytes: 2 * length, operations: 0 },
        });
      });
    });
  }

  clear(slice: BufferSlice): void {
    checkWords("clear", slice, slice.byteLength);
    this.inParts(slice.byteLength, [slice.byteOffset], (element, begin, size) => {
      this.inPieces(begin, size, Infinity, (at, length) => {
        const bound = aligned(slice.byteOffset + at, length, this.device.limits.offsetAlignment);
        const count = length / elementBytes[element];
        const { grid, width } = this.gridOf(count);
        this.device.run(clearKernels[element], {
          buffers: [{ allocation: slice.allocation, ...bound }],
          params: clearParams.write({
            count,
            width,
            sinkAt: (slice.byteOffset + at - bound.byteOffset) / elementBytes[element],
          }),
          grid,
          cost: { bytes: length, operations: 0 },
        });
      });
    });
  }

  /** The bulk in vectors where all offsets allow it, the tail in words. */
  private inParts(
    bytes: number,
    offsets: readonly number[],
    f: (element: MoveElement, begin: number, size: number) => void,
  ): void {
    const bulk = offsets.every((offset) => offset % 16 === 0) ? Math.floor(bytes / 16) * 16 : 0;
    if (bulk > 0) f("vec4u", 0, bulk);
    if (bytes > bulk) f("u32", bulk, bytes - bulk);
  }

  private inPieces(begin: number, size: number, most: number, f: (begin: number, size: number) => void): void {
    const { maxBindingBytes, offsetAlignment } = this.device.limits;
    // A bound range starts up to one alignment early.
    const piece = Math.floor((Math.min(maxBindingBytes, most) - offsetAlignment) / 16) * 16;
    if (piece <= 0) throw new DeviceError(`bindings of ${maxBindingBytes} bytes are too small to copy through`);
    for (let at = begin; at < begin + size; at += piece) f(at, Math.min(piece, begin + size - at));
  }

  private gridOf(count: number): { grid: [number, number]; width: number } {
    const groups = Math.ceil(count / moveWorkgroup);
    const width = Math.min(groups, this.device.limits.maxWorkgroupsPerDimension);
    return { grid: [width, Math.ceil(groups / width)], width };
  }
}

/** The range with its start rounded down. */
function aligned(offset: number, bytes: number, alignment: number): { byteOffset: number; byteLength: number } {
  const byteOffset = Math.floor(offset / alignment) * alignment;
  return { byteOffset, byteLength: offset - byteOffset + bytes };
}

function checkWords(what: string, slice: BufferSlice, bytes: number): void {
  if (bytes % 4 === 0 && slice.byteOffset % 4 === 0) return;
  throw new DeviceError(`${what}: ${bytes} bytes at offset ${slice.byteOffset}; both must be multiples of 4`);
}
