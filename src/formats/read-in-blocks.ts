/**
 * Reads a file in large pieces.
 *
 * A loader asks for one tensor after the other, and a model has hundreds: each as a request of its own would wait for the
 * server every time. Blocks are kept while they are likely to be asked for again.
 */
import { type ByteSource, readInto } from "./byte-source.js";

/** Large enough that the line, not the server's answer time, decides; small enough that the progress bar moves. */
const BLOCK_BYTES = 2 * 2 ** 20;
/** 32 MiB of blocks a file. */
const KEPT_BLOCKS = 16;

/** The same source, short reads answered from blocks. `blockBytes` and `keptBlocks` are for tests. */
export function inBlocks(source: ByteSource, blockBytes = BLOCK_BYTES, keptBlocks = KEPT_BLOCKS): ByteSource {
  const { name, size } = source;
  /** By number, the least recently used first. */
  const blocks = new Map<number, Promise<Uint8Array>>();

  const block = (index: number): Promise<Uint8Array> => {
    const begin = index * blockBytes;
    // Without a signal: a block that one reader gives up on may be another's.
    const bytes = blocks.get(index) ?? source.read(begin, Math.min(blockBytes, size - begin));
    blocks.delete(index);
    blocks.set(index, bytes);
    // What failed is asked for anew next time.
    bytes.catch(() => blocks.delete(index));
    for (const oldest of blocks.keys()) {
      if (blocks.size <= keptBlocks) break;
      blocks.delete(oldest);
    }
    return bytes;
  };

  /** Long reads gain nothing; the source itself refuses what leaves the file. */
  const isFor = (offset: number, length: number): boolean =>
    length < blockBytes && length > 0 && offset >= 0 && offset + length <= size;

  const fill = async (result: Uint8Array, offset: number, signal?: AbortSignal): Promise<void> => {
    signal?.throwIfAborted();
    const end = offset + result.byteLength;
    if (!isFor(offset, result.byteLength)) return readInto(source, result, offset, signal);
    for (let index = Math.floor(offset / blockBytes); index * blockBytes < end; index++) {
      const begin = index * blockBytes;
      const bytes = await block(index);
      signal?.throwIfAborted();
      const from = Math.max(offset - begin, 0);
      result.set(bytes.subarray(from, Math.min(end - begin, blockBytes)), begin + from - offset);
    }
  };

  return {
    name,
    size,
    async read(offset, length, signal) {
      if (!isFor(offset, length)) return source.read(offset, length, signal);
      const result = new Uint8Array(length);
      await fill(result, offset, signal);
      return result;
    },
    readInto: fill,
    async close() {
      blocks.clear();
      await source.close();
    },
  };
}
