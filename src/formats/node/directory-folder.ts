/**
 * A directory on disk as a Folder.
 */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Checkpoint, openCheckpoint } from "../checkpoint.js";
import { CheckpointError, reasonOf } from "../checkpoint-error.js";
import { checkRelativePath, decodeUtf8, type Folder } from "../folder.js";
import { parseJson } from "../json.js";
import { fileSource } from "./file-source.js";

/** A folder over the directory `path`. Nothing is opened until a file is asked for. */
export function directoryFolder(path: string): Folder {
  const pathOf = (file: string): string => join(path, checkRelativePath(file));
  const readText = async (file: string): Promise<string> => {
    const name = pathOf(file);
    const bytes = await readFile(name).catch((cause: unknown) => {
      throw new CheckpointError(name, "file", `could not be read: ${reasonOf(cause)}`, { cause });
    });
    return decodeUtf8(bytes, name);
  };
  return {
    name: path,
    open: async (file) => fileSource(pathOf(file)),
    async has(file) {
      const name = pathOf(file);
      try {
        return (await stat(name)).isFile();
      } catch (cause) {
        if (isAbsent(cause)) return false;
        throw new CheckpointError(name, "file", `could not be looked at: ${reasonOf(cause)}`, { cause });
      }
    },
    readText,
    readJson: async (file) => parseJson(await readText(file), { file: pathOf(file) }),
    close: async () => {},
  };
}

/**
 * Opens the checkpoint in the directory `dir`.
 *
 * @throws {CheckpointError} no such directory, no checkpoint in it, or a damaged one.
 */
export async function openCheckpointDirectory(dir: string, signal?: AbortSignal): Promise<Checkpoint> {
  const isDirectory = await stat(dir).then(
    (found) => found.isDirectory(),
    (cause: unknown) => {
      throw new CheckpointError(dir, "directory", `could not be opened: ${reasonOf(cause)}`, { cause });
    },
  );
  if (!isDirectory) throw new CheckpointError(dir, "directory", "expected a directory, got a file");
  return openCheckpoint(directoryFolder(dir), signal);
}

const isAbsent = (thrown: unknown): boolean =>
  thrown instanceof Error && "code" in thrown && (thrown.code === "ENOENT" || thrown.code === "ENOTDIR");
