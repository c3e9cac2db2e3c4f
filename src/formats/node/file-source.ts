/**
 * Bytes of a file on disk.
 */
import { open } from "node:fs/promises";
import { type ByteSource, checkRange, closedError, shortReadError } from "../byte-source.js";
import { CheckpointError, reasonOf } from "../checkpoint-error.js";

// One read call's bytes: small enough that an abort is noticed, and below the system's limit of 2³¹ − 1.
const pieceBytes = 64 * 1024 * 1024;

/**
 * Opens a file for reading.
 *
 * @throws {CheckpointError} there is no such file, it is not a file, or it may not be read.
 */
export async function fileSource(path: string): Promise<ByteSource> {
  const handle = await open(path, "r").catch((cause: unknown) => {
    throw new CheckpointError(path, "file", `could not be opened: ${reasonOf(cause)}`, { cause });
  });
  let size: number;
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw new CheckpointError(path, "file", "expected a file, got a directory or device");
    size = stat.size;
  } catch (error) {
    await handle.close();
    throw error;
  }

  let closing: Promise<void> | undefined;
  const readInto = async (bytes: Uint8Array, offset: number, signal?: AbortSignal): Promise<void> => {
    const length = bytes.byteLength;
    signal?.throwIfAborted();
    if (closing) throw closedError(path);
    checkRange(path, size, offset, length);
    let done = 0;
    while (done < length) {
      const want = Math.min(pieceBytes, length - done);
      let got: number;
      try {
        got = (await handle.read(bytes, done, want, offset + done)).bytesRead;
      } catch (cause) {
        throw new CheckpointError(path, "file", `could not be read at ${offset + done}: ${reasonOf(cause)}`, {
          cause,
        });
      }
      signal?.throwIfAborted();
      if (got === 0) throw shortReadError(path, offset, length, done);
      done += got;
    }
  };
  return {
    name: path,
    size,
    async read(offset, length, signal) {
      checkRange(path, size, offset, length); // before the memory is asked for
      const bytes = new Uint8Array(length);
      await readInto(bytes, offset, signal);
      return bytes;
    },
    readInto,
    close() {
      closing ??= handle.close();
      return closing;
    },
  };
}
