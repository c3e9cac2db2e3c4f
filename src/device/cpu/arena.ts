/**
 * The arena: hands out 64-byte aligned blocks of one growing address range. It knows numbers only, no memory.
 *
 * Best fit over a list of free blocks sorted by size; neighbours are merged when a block comes back. Decode steps free and
 * allocate the same sizes over and over, which best fit answers with the same blocks.
 */

export const ALIGNMENT = 64;

interface Block {
  readonly at: number;
  readonly bytes: number;
}

export interface ArenaUse {
  readonly live: number;
  readonly peak: number;
  /** Bytes of the range that are not live. */
  readonly pooled: number;
  /** How often the range grew. */
  readonly blocksMade: number;
}

export class Arena {
  /** Sorted by size, then by address. */
  private readonly free: Block[] = [];
  private readonly freeByStart = new Map<number, Block>();
  private readonly freeByEnd = new Map<number, Block>();
  private readonly taken = new Map<number, { readonly bytes: number; readonly isLive: boolean }>();
  private liveBytes = 0;
  private peakBytes = 0;
  private growths = 0;

  /**
   * @param begin first address, a multiple of 64.
   * @param end first address behind the range as it is now.
   * @param grow makes the range at least `bytes` longer and returns its new end, or undefined if that is impossible.
   */
  constructor(
    private readonly begin: number,
    private end: number,
    private readonly grow: (bytes: number) => number | undefined,
  ) {
    if (end > begin) this.addFree(begin, end - begin);
  }

  get use(): ArenaUse {
    const { liveBytes: live, peakBytes: peak, growths: blocksMade } = this;
    return { live, peak, pooled: this.end - this.begin - live, blocksMade };
  }

  resetPeak(): void {
    this.peakBytes = this.liveBytes;
  }

  /**
   * @param isLive false for what the device keeps for itself: it counts as pooled.
   * @returns the address, or undefined if there is no room.
   */
  allocate(byteLength: number, isLive = true): number | undefined {
    const bytes = Math.max(ALIGNMENT, Math.ceil(byteLength / ALIGNMENT) * ALIGNMENT);
    let index = this.firstFit(bytes);
    if (index === this.free.length) {
      if (!this.extend(bytes)) return undefined;
      index = this.firstFit(bytes);
    }
    const block = this.free[index]!;
    this.removeFree(block, index);
    if (block.bytes > bytes) this.addFree(block.at + bytes, block.bytes - bytes);
    this.taken.set(block.at, { bytes, isLive });
    if (isLive) this.liveBytes += bytes;
    this.peakBytes = Math.max(this.peakBytes, this.liveBytes);
    return block.at;
  }

  release(at: number): void {
    const block = this.taken.get(at);
    if (!block) throw new Error(`internal: the arena has no block at ${at}`);
    this.taken.delete(at);
    if (block.isLive) this.liveBytes -= block.bytes;
    let begin = at;
    let end = at + block.bytes;
    const before = this.freeByEnd.get(begin);
    if (before) {
      begin = before.at;
      this.removeFree(before);
    }
    const after = this.freeByStart.get(end);
    if (after) {
      end = after.at + after.bytes;
      this.removeFree(after);
    }
    this.addFree(begin, end - begin);
  }

  /** Number of free blocks, for tests: 1 when all is free and merged. */
  get freeBlocks(): number {
    return this.free.length;
  }

  private extend(bytes: number): boolean {
    // A free block at the end of the range needs only what it lacks.
    const last = this.freeByEnd.get(this.end);
    const end = this.grow(bytes - (last?.bytes ?? 0));
    if (end === undefined) return false;
    this.growths += 1;
    const begin = last ? last.at : this.end;
    if (last) this.removeFree(last);
    this.end = end;
    this.addFree(begin, end - begin);
    return true;
  }

  /** Index of the smallest free block of at least `bytes` bytes. */
  private firstFit(bytes: number): number {
    return this.indexOf({ at: 0, bytes });
  }

  /** Index of the first free block that does not come before `block`. */
  private indexOf(block: Block): number {
    let low = 0;
    let high = this.free.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = this.free[middle]!;
      if (other.bytes < block.bytes || (other.bytes === block.bytes && other.at < block.at)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  private addFree(at: number, bytes: number): void {
    const block = { at, bytes };
    this.free.splice(this.indexOf(block), 0, block);
    this.freeByStart.set(at, block);
    this.freeByEnd.set(at + bytes, block);
  }

  private removeFree(block: Block, index = this.indexOf(block)): void {
    this.free.splice(index, 1);
    this.freeByStart.delete(block.at);
    this.freeByEnd.delete(block.at + block.bytes);
  }
}
