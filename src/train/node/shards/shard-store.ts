/**
 * A folder of shards, each named by what it was made of: the file's content, the tokenizer and the way of reading. What is there is used
 * again; what is not is made, and appears under its name when it is whole.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readdir, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { reasonOf } from "../../../formats/checkpoint-error.js";
import { fileSource, writeFileAtomic } from "../../../formats/node/index.js";
import { DataError } from "../../data/data-error.js";
import type { DataFiles, TextContext, TextOptions } from "../../data/data-files.js";
import { ShardReader } from "../../data/shard-reader.js";
import { readStart } from "./text-file.js";
import { tokeniseFile } from "./tokenise-file.js";

/** Counts up when a shard of the same text would come out otherwise. */
const version = 1;

export const shardEnding = ".shard";
const textFile = /\.(txt|jsonl|ndjson)(\.gz)?$/i;

/** Options of {@link nodeDataFiles}. */
export interface ShardStoreOptions {
  /** What relative paths are relative to. Default: the current folder. */
  readonly folder?: string | undefined;
  /** Where shards are kept; made when there is none. */
  readonly shards: string;
}

/** Files of this machine for `openBatches`. */
export function nodeDataFiles({ folder = ".", shards }: ShardStoreOptions): DataFiles {
  const at = (path: string): string => resolve(folder, path);
  return {
    async list(path) {
      const whole = at(path);
      const found = await stat(whole).catch((cause: unknown) => {
        throw new DataError(path, "", `could not be opened: ${reasonOf(cause)}`, { cause });
      });
      if (!found.isDirectory()) return [path];
      const names = (await readdir(whole)).filter((name) => textFile.test(name) || name.endsWith(shardEnding)).sort();
      if (names.length === 0) {
        throw new DataError(
          path,
          "",
          `expected a folder with .txt, .jsonl (also .gz) or ${shardEnding} files, got none`,
        );
      }
      return names.map((name) => join(path, name));
    },
    readStart: (path, limit, signal) => readStart(at(path), limit, signal),
    async openShard(path, options, context) {
      const file = path.endsWith(shardEnding) ? at(path) : await ensureShard(at(path), at(shards), options, context);
      const source = await fileSource(file);
      try {
        const shard = await ShardReader.open(source, context.signal);
        if (shard.header.fingerprint !== context.fingerprint.slice(0, 32)) {
          throw new DataError(file, "", "was made with another tokenizer or chat template than the model's");
        }
        return shard;
      } catch (error) {
        await source.close();
        throw error;
      }
    },
  };
}

/** The path of the file's shard, made when it is not there. */
export async function ensureShard(
  path: string,
  shards: string,
  options: TextOptions,
  context: TextContext,
): Promise<string> {
  const { signal } = context;
  const name = basename(path)
    .replace(/\.gz$/i, "")
    .replace(/\.[^.]*$/, "");
  const how = JSON.stringify([version, context.fingerprint, options.separator ?? null, options.loss ?? null]);
  const file = join(shards, `${name}-${(await hashOf(path, how, signal)).slice(0, 16)}${shardEnding}`);
  const isThere = await stat(file).then(
    () => true,
    () => false,
  );
  if (isThere) return file;
  await mkdir(shards, { recursive: true });
  await writeFileAtomic(file, (sink) => tokeniseFile(path, sink, options, context), signal ? { signal } : {});
  return file;
}

async function hashOf(path: string, how: string, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash("sha256").update(how);
  try {
    for await (const bytes of createReadStream(path, { highWaterMark: 1024 * 1024, signal })) {
      hash.update(bytes as Uint8Array); // a stream without an encoding gives bytes
    }
  } catch (cause) {
    if (signal?.aborted) throw signal.reason;
    throw new DataError(path, "", `could not be read: ${reasonOf(cause)}`, { cause });
  }
  return hash.digest("hex");
}
