/**
 * Bytes at known offsets, wherever they lie: the only thing that a reader of a format asks for.
 *
 * Every source gives exactly the bytes asked for or throws; what it returns belongs to the caller (it is never a
 * view of something shared) and starts aligned for every typed array. Reads may overlap in time.
 */
import { CheckpointError, reasonOf } from "./checkpoint-error.js";

export interface ByteSource {
  /** File name, path or address, for errors. */
  readonly name: string;
  /** Bytes in all. */
  readonly size: number;
  /**
   * @throws {RangeError} the range is not inside the source.
   * @throws {CheckpointError} the bytes could not be had (file truncated meanwhile, server error, …).
   * @throws the signal's reason once it is aborted.
   */
  read(offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array>;
  /**
   * The same into the caller's memory, which may be shared or a mapped buffer's: as many bytes as `target` has. Once the
   * promise has settled, nothing is written any more. Only for sources that do better than `read` and a copy.
   */
  readInto?(target: Uint8Array, offset: number, signal?: AbortSignal): Promise<void>;
  /** Gives the file or the memory back; closing twice is harmless. */
  close(): Promise<void>;
}

/** Fills `target` with the bytes at `offset`, without a copy where the source can. Fails as `read` does. */
export async function readInto(
  source: ByteSource,
  target: Uint8Array,
  offset: number,
  signal?: AbortSignal,
): Promise<void> {
  if (source.readInto) await source.readInto(target, offset, signal);
  else target.set(await source.read(offset, target.byteLength, signal));
}

/** Checks a read's range; for those who write a source. */
export function checkRange(name: string, size: number, offset: number, length: number): void {
  if (
    !Number.isSafeInteger(offset) ||
    !Number.isSafeInteger(length) ||
    offset < 0 ||
    length < 0 ||
    offset + length > size
  ) {
    throw new RangeError(`${name}: read of ${length} bytes at ${offset} expected inside 0…${size}`);
  }
}

/** A source over bytes in memory. The bytes are not copied: they must not change while the source is used. */
export function memorySource(name: string, bytes: Uint8Array): ByteSource {
  let held: Uint8Array | undefined = bytes;
  const size = bytes.byteLength;
  return {
    name,
    size,
    async read(offset, length, signal) {
      signal?.throwIfAborted();
      if (!held) throw closedError(name);
      checkRange(name, size, offset, length);
      // Not `slice`: a Node Buffer would hand out a view.
      return new Uint8Array(held.subarray(offset, offset + length));
    },
    async close() {
      held = undefined;
    },
  };
}

/** A source over a Blob or File, such as one dropped on a page. */
export function blobSource(name: string, blob: Blob): ByteSource {
  let held: Blob | undefined = blob;
  const size = blob.size;
  return {
    name,
    size,
    async read(offset, length, signal) {
      signal?.throwIfAborted();
      if (!held) throw closedError(name);
      checkRange(name, size, offset, length);
      let buffer: ArrayBuffer;
      try {
        buffer = await held.slice(offset, offset + length).arrayBuffer();
      } catch (cause) {
        throw new CheckpointError(name, "file", `could not be read: ${reasonOf(cause)}`, { cause });
      }
      signal?.throwIfAborted();
      if (buffer.byteLength !== length) throw shortReadError(name, offset, length, buffer.byteLength);
      return new Uint8Array(buffer);
    },
    async close() {
      held = undefined;
    },
  };
}

/** The error of a read after `close`; for those who write a source. */
export function closedError(name: string): Error {
  return new Error(`${name}: read after close`);
}

/** The error of a source that ended early; for those who write a source. */
export function shortReadError(name: string, offset: number, expected: number, got: number): CheckpointError {
  return new CheckpointError(
    name,
    "file",
    `expected ${expected} bytes at ${offset}, got ${got} (truncated while it was read?)`,
  );
}
