/** Text files of the user, plain or gzip-compressed. */
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { InputError } from "../output.js";

/**
 * Reads a UTF-8 file; gzip is known by its first bytes, whatever the file's name.
 *
 * @param option the option that named the file, for errors.
 * @throws {InputError} There is no such file, or it is not text.
 */
export async function readText(file: string, option: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (cause) {
    throw new InputError(`${option} ${file}: ${reason(cause)}`, { cause });
  }
  try {
    if (bytes[0] === 0x1f && bytes[1] === 0x8b) bytes = await promisify(gunzip)(bytes);
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new InputError(`${option} ${file}: expected UTF-8 text, plain or gzip-compressed`, { cause });
  }
}

function reason(cause: unknown): string {
  if (cause instanceof Error && "code" in cause) {
    if (cause.code === "ENOENT") return "there is no such file";
    if (cause.code === "EISDIR") return "this is a folder, not a file";
  }
  return cause instanceof Error ? cause.message : String(cause);
}
