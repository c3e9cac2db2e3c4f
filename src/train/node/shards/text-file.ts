/** Text files as streams: plain or gzip-compressed UTF-8, never whole in memory. */
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import { reasonOf } from "../../../formats/checkpoint-error.js";
import { DataError } from "../../data/data-error.js";

/** Options of {@link textChunks}. */
export interface ReadingOptions {
  readonly signal?: AbortSignal | undefined;
  /** Bytes of the file that have been read, of all that it has. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  /** Sees the file's bytes as they are, compressed or not. */
  readonly onBytes?: ((bytes: Uint8Array) => void) | undefined;
}

const gzipMagic = [0x1f, 0x8b];
const xzMagic = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
const startsWith = (bytes: Uint8Array, magic: readonly number[]): boolean =>
  magic.every((byte, i) => bytes[i] === byte);

/**
 * The text of a file in pieces; characters are never parted. Compression is known by the first bytes, whatever the name.
 *
 * @throws {DataError} there is no such file, it is compressed with xz, damaged, or not UTF-8.
 */
export async function* textChunks(path: string, options: ReadingOptions = {}): AsyncGenerator<string, void, void> {
  const { signal, onProgress, onBytes } = options;
  const { head, size } = await look(path);
  if (startsWith(head, xzMagic)) {
    throw new DataError(path, "", "expected plain or gzip-compressed text, got xz; unpack it first: xz -dk FILE");
  }
  signal?.throwIfAborted();
  const isGzip = startsWith(head, gzipMagic);
  const file = createReadStream(path);
  let done = 0;
  file.on("data", (chunk) => {
    done += chunk.length;
    onBytes?.(chunk as Buffer); // a stream without an encoding gives buffers
    onProgress?.(done, size);
  });
  // The callback is needed for errors to travel; they come out of the loop below.
  const stream = isGzip ? pipeline(file, createGunzip(), () => {}) : file;
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let line = 1;
  const decode = (bytes?: Uint8Array): string => {
    try {
      return bytes === undefined ? decoder.decode() : decoder.decode(bytes, { stream: true });
    } catch (cause) {
      const at = line + (bytes === undefined ? 0 : goodLines(bytes));
      throw new DataError(path, `line ${at}`, "expected UTF-8 text, got other bytes", { cause });
    }
  };
  try {
    for await (const bytes of stream as AsyncIterable<Uint8Array>) {
      signal?.throwIfAborted();
      const text = decode(bytes);
      for (const byte of bytes) if (byte === 0x0a) line++;
      if (text !== "") yield text;
    }
    const rest = decode();
    if (rest !== "") yield rest;
  } catch (cause) {
    if (cause instanceof DataError || signal?.aborted) throw cause;
    const damaged = isGzip ? "the gzip data is damaged or cut short" : "could not be read";
    throw new DataError(path, `line ${line} or later`, `${damaged}: ${reasonOf(cause)}`, { cause });
  } finally {
    file.destroy();
  }
}

/** Lines before the first one with bytes that are no UTF-8. The first may begin in the middle of a character. */
function goodLines(bytes: Uint8Array): number {
  let count = 0;
  let start = bytes.findIndex((byte) => (byte & 0xc0) !== 0x80);
  for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a, start)) {
    try {
      new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(start, end));
    } catch {
      break;
    }
    count++;
    start = end + 1;
  }
  return count;
}

async function look(path: string): Promise<{ head: Uint8Array; size: number }> {
  try {
    const handle = await open(path, "r");
    try {
      const stat = await handle.stat();
      if (!stat.isFile()) throw new DataError(path, "", "expected a file, got a folder or a device");
      const head = new Uint8Array(8);
      await handle.read(head, 0, head.length, 0);
      return { head, size: stat.size };
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    throw new DataError(path, "", `could not be opened: ${reasonOf(cause)}`, { cause });
  }
}

/** The lines of a text with their numbers from 1 on, without their ends; empty ones too. */
export async function* lines(
  chunks: AsyncIterable<string>,
): AsyncGenerator<[line: string, number: number], void, void> {
  let pending = "";
  let number = 0;
  for await (const chunk of chunks) {
    const parts = chunk.split("\n");
    parts[0] = pending + parts[0];
    pending = parts.pop()!; // split gives at least one part
    for (const line of parts) yield [line.endsWith("\r") ? line.slice(0, -1) : line, ++number];
  }
  if (pending !== "") yield [pending, ++number];
}

/** The first characters of a text file, at most `limit`. */
export async function readStart(path: string, limit: number, signal?: AbortSignal): Promise<string> {
  let text = "";
  for await (const chunk of textChunks(path, { signal })) {
    text += chunk;
    if (text.length >= limit) break;
  }
  return text.slice(0, limit);
}
