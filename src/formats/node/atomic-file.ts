/**
 * Files that appear whole or not at all: written under a temporary name, flushed to disk, then renamed.
 *
 * A crash leaves the old file as it was (and perhaps a `.tmp` file beside it); an error or an abort removes the
 * temporary file.
 */
import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import type { ByteSink } from "../safetensors-writer.js";

/**
 * Writes `path` with what `write` gives to its sink. Resolves once the file is on disk under its name.
 *
 * @throws what `write` throws, the signal's reason, or the file system's error; `path` is then as before.
 */
export async function writeFileAtomic(
  path: string,
  write: (sink: ByteSink) => Promise<unknown>,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<void> {
  signal?.throwIfAborted();
  const temporary = `${path}.${randomUUID()}.tmp`;
  const handle = await open(temporary, "wx");
  try {
    try {
      await write({
        async write(bytes) {
          signal?.throwIfAborted();
          for (let done = 0; done < bytes.byteLength; ) {
            done += (await handle.write(bytes, done, bytes.byteLength - done)).bytesWritten;
          }
        },
      });
      signal?.throwIfAborted();
      await handle.sync();
    } finally {
      await handle.close();
    }
    signal?.throwIfAborted();
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Makes the rename itself durable. Systems that cannot open a directory (Windows) need no such step. */
async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r").catch(() => undefined);
  if (!handle) return;
  try {
    await handle.sync();
  } catch {
    // Some network file systems refuse; the file's own content is on disk, so nothing is lost but promptness.
  } finally {
    await handle.close();
  }
}
