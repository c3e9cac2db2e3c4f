/**
 * The full cache: keys after rotary and values, every position, in float32, float16 or bfloat16.
 *
 * Pages grow by segments, so nothing is copied when a context gets longer and no binding passes the device's limit.
 */
import type { Device } from "../device/index.js";
import type { AttendOptions, CacheSnapshot, HeadOptions, LayerCache } from "../nn/index.js";
import { attention, type KvPages, type KvSegment, PAGE_TOKENS, ropeAppend, type Step } from "../ops/index.js";
import { bytesPerElement, empty, type Tensor } from "../tensor/index.js";

export interface FullCacheOptions {
  readonly dtype: "f32" | "f16" | "bf16";
  readonly kvHeads: number;
  readonly headDim: number;
  /** i32 [slots, pagesPerSlot]; the pool's. */
  readonly pageTable: Tensor;
}

/** Bytes of one page in one layer (keys or values). */
export function fullPageBytes(o: Pick<FullCacheOptions, "dtype" | "kvHeads" | "headDim">): number {
  return o.kvHeads * PAGE_TOKENS * o.headDim * bytesPerElement[o.dtype];
}

export class FullCache implements LayerCache, KvPages {
  readonly kind: string;
  readonly dtype: "f32" | "f16" | "bf16";
  readonly kvHeads: number;
  readonly headDim: number;
  readonly pageTable: Tensor;
  readonly segments: KvSegment[] = [];

  constructor(
    private readonly device: Device,
    o: FullCacheOptions,
  ) {
    this.kind = o.dtype;
    this.dtype = o.dtype;
    this.kvHeads = o.kvHeads;
    this.headDim = o.headDim;
    this.pageTable = o.pageTable;
  }

  get bytes(): number {
    return this.segments.reduce((sum, segment) => sum + segment.keys.byteLength + segment.values.byteLength, 0);
  }

  addPages(firstPage: number, pages: number): void {
    const shape = [pages, this.kvHeads, PAGE_TOKENS, this.headDim];
    const keys = empty(this.device, shape, this.dtype, "keys");
    try {
      this.segments.push({ keys, values: empty(this.device, shape, this.dtype, "values"), firstPage, pages });
    } catch (error) {
      keys.dispose();
      throw error;
    }
  }

  append(qkv: Tensor, options: HeadOptions, step: Step): void {
    const { heads, rope, qNorm, kNorm, eps } = options;
    ropeAppend(
      qkv,
      this,
      {
        heads,
        ...(rope ? { rope } : {}),
        ...(qNorm ? { qNorm } : {}),
        ...(kNorm ? { kNorm } : {}),
        ...(eps !== undefined ? { eps } : {}),
      },
      step,
    );
  }

  attend(qkv: Tensor, options: AttendOptions, step: Step): Tensor {
    const { heads, scale, window } = options;
    return attention(qkv, this, { heads, scale, ...(window !== undefined ? { window } : {}) }, step);
  }

  keep(qkv: Tensor, options: HeadOptions, step: Step): void {
    this.append(qkv, options, step);
  }

  slotBytes(pages: number): number {
    return pages * 2 * fullPageBytes(this);
  }

  open(): void {
    // A new sequence writes every position before it reads it.
  }

  trim(): void {
    // Positions behind the new end are overwritten by the next append and never read before.
  }

  snapshot(): CacheSnapshot | undefined {
    return undefined;
  }

  restore(): void {
    // Pages before the snapshot's length are untouched by later appends.
  }

  dispose(): void {
    for (const { keys, values } of this.segments) {
      keys.dispose();
      values.dispose();
    }
    this.segments.length = 0;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
