/**
 * Checkpoint folders that are whole or not there: `step-000123` is written under another name, flushed to disk file by file,
 * and renamed. Older ones are removed only after that. So whatever happens, the newest folder with such a name is whole.
 */
import { randomUUID } from "node:crypto";
import { mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { ByteSink } from "../../formats/index.js";

/** A file of a checkpoint. */
export interface CheckpointFile {
  readonly name: string;
  write(sink: ByteSink): Promise<unknown>;
}

/** An open file: what a disk does, for tests with a full one. */
export interface OutputFile {
  write(bytes: Uint8Array): Promise<void>;
  /** Resolves when the bytes are on the disk. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export type CreateFile = (path: string) => Promise<OutputFile>;

/** A checkpoint could not be written; those before it are as they were. */
export class CheckpointWriteError extends Error {
  override readonly name = "CheckpointWriteError";
}

const FOLDER = /^step-(\d{6,})$/;
/** Half written folders, and files of `writeFileAtomic`. */
const TEMPORARY = /^\.step-\d{6,}\..*\.(tmp|old)$|^(metrics\.jsonl|report\.html)\.[-0-9a-f]+\.tmp$/;

export const folderName = (step: number): string => `step-${String(step).padStart(6, "0")}`;

/** Steps that `out` has whole checkpoints of, ascending. None when there is no such folder. */
export async function checkpointSteps(out: string): Promise<number[]> {
  const names = await readdir(out).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  return names
    .flatMap((name) => FOLDER.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

/** Removes what a killed run has left half written. To be called before a run. */
export async function removeTemporaries(out: string): Promise<void> {
  const names = await readdir(out).catch(() => []);
  for (const name of names) if (TEMPORARY.test(name)) await rm(join(out, name), { recursive: true, force: true });
}

export interface WriteOptions {
  /** How many checkpoints stay, this one included. Default: all. */
  readonly keep?: number;
  readonly createFile?: CreateFile;
}

/**
 * Writes the checkpoint of a step.
 *
 * @returns its path.
 * @throws {CheckpointWriteError} the disk is full or refuses; what was half written is removed.
 */
export async function writeCheckpoint(
  out: string,
  step: number,
  files: readonly CheckpointFile[],
  { keep = Number.POSITIVE_INFINITY, createFile = createOnDisk }: WriteOptions = {},
): Promise<string> {
  const name = folderName(step);
  const path = join(out, name);
  const temporary = join(out, `.${name}.${randomUUID()}.tmp`);
  try {
    await mkdir(temporary, { recursive: true });
    for (const file of files) await writeFile(join(temporary, file.name), file, createFile);
    await syncDirectory(temporary);
    await replace(temporary, path);
    await syncDirectory(out);
  } catch (cause) {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
    throw await explained(cause, out, name);
  }
  const steps = await checkpointSteps(out);
  const old = steps.filter((other) => other !== step).slice(0, Math.max(0, steps.length - keep));
  for (const other of old) await rm(join(out, folderName(other)), { recursive: true, force: true });
  return path;
}

async function writeFile(path: string, file: CheckpointFile, createFile: CreateFile): Promise<void> {
  const output = await createFile(path);
  try {
    await file.write(output);
    await output.sync();
  } finally {
    await output.close();
  }
}

/** A folder of the same step is of an earlier run that was resumed before it. */
async function replace(temporary: string, path: string): Promise<void> {
  try {
    await rename(temporary, path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOTEMPTY" && code !== "EEXIST" && code !== "EPERM") throw error;
    const old = `${temporary.slice(0, -".tmp".length)}.old`;
    await rename(path, old);
    await rename(temporary, path);
    await rm(old, { recursive: true, force: true });
  }
}

async function explained(cause: unknown, out: string, name: string): Promise<unknown> {
  const { code, message } = cause as NodeJS.ErrnoException;
  if (code === undefined) return cause;
  const before = (await checkpointSteps(out).catch(() => [])).at(-1);
  const reason = code === "ENOSPC" || code === "EDQUOT" ? "there is no space left on the disk" : message;
  const kept = before === undefined ? "There is no earlier one." : `${folderName(before)} is whole.`;
  return new CheckpointWriteError(`${out}/${name} could not be written: ${reason}. ${kept}`, { cause });
}

const createOnDisk: CreateFile = async (path) => {
  const handle = await open(path, "wx");
  return {
    async write(bytes) {
      for (let done = 0; done < bytes.byteLength; ) {
        done += (await handle.write(bytes, done, bytes.byteLength - done)).bytesWritten;
      }
    },
    sync: () => handle.sync(),
    close: () => handle.close(),
  };
};

/** Makes names durable. Systems that cannot open a directory (Windows) need no such step. */
async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r").catch(() => undefined);
  if (!handle) return;
  try {
    await handle.sync();
  } catch {
    // Some network file systems refuse; the files' own contents are on disk.
  } finally {
    await handle.close();
  }
}
