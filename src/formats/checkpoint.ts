/**
 * A checkpoint: named tensors in one safetensors file, or in shards with an index.
 *
 *   model.safetensors                                     one file; looked for first
 *   model.safetensors.index.json                          { "weight_map": { tensor: shard file } }
 *   model-00001-of-00002.safetensors, …                   the shards
 *
 * The index must agree with the shards in both directions: a tensor that only one of them knows is an error, because
 * it means that files of two checkpoints are mixed. `metadata.total_size` is not compared: published files
 * count shared tensors differently.
 */
import { type ByteSource, checkRange, readInto } from "./byte-source.js";
import { CheckpointError, quote, reasonOf } from "./checkpoint-error.js";
import { type Folder, isPlainFileName } from "./folder.js";
import { isJsonObject, parseJson } from "./json.js";
import { readSafetensorsHeader, type SafetensorsFile, type TensorEntry } from "./safetensors.js";

/** Names of the two files that `openCheckpoint` looks for. */
export const singleFileName = "model.safetensors";
export const indexFileName = "model.safetensors.index.json";

export interface TensorPiece {
  /** First byte of the piece, from the beginning of the tensor. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface StreamOptions {
  /** Bytes of a piece at most; 8 MiB by default. */
  readonly chunkBytes?: number;
  readonly signal?: AbortSignal;
}

export interface Checkpoint extends AsyncDisposable {
  readonly entries: ReadonlyMap<string, TensorEntry>;
  /** The files' `__metadata__`; with shards a later one's texts win. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Bytes of all tensors. */
  readonly totalBytes: number;
  /** @throws {CheckpointError} no such tensor, or it cannot be read. */
  read(name: string, signal?: AbortSignal): Promise<Uint8Array>;
  /** Fills `target` with the tensor's bytes from `offset` on; several may be under way. Fails as `read` does. */
  readInto(name: string, target: Uint8Array, offset: number, signal?: AbortSignal): Promise<void>;
  /** The tensor's bytes in order, piece by piece; never more than one piece is held. */
  stream(name: string, options?: StreamOptions): AsyncIterable<TensorPiece>;
  /** Closes the files. */
  close(): Promise<void>;
}

/**
 * Opens the checkpoint in `folder`. The checkpoint closes its own files; the folder stays the caller's.
 *
 * @throws {CheckpointError} no checkpoint, a damaged one, or shards that do not fit the index.
 */
export async function openCheckpoint(folder: Folder, signal?: AbortSignal): Promise<Checkpoint> {
  if (await folder.has(singleFileName)) return openSafetensors(await folder.open(singleFileName), signal);
  if (await folder.has(indexFileName)) return openShards(folder, signal);
  throw new CheckpointError(folder.name, "checkpoint", `expected ${singleFileName} or ${indexFileName}, got neither`);
}

/** Opens one safetensors file of any name. The checkpoint owns `source`, and closes it also when this fails. */
export async function openSafetensors(source: ByteSource, signal?: AbortSignal): Promise<Checkpoint> {
  try {
    const file = await readSafetensorsHeader(source, signal);
    return checkpointOf([file], file.tensors);
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function openShards(folder: Folder, signal: AbortSignal | undefined): Promise<Checkpoint> {
  const indexName = `${folder.name.replace(/\/$/, "")}/${indexFileName}`;
  const weightMap = readWeightMap(await folder.readText(indexFileName), indexName);
  const shardNames = [...new Set(weightMap.values())].sort();

  const opened = await Promise.allSettled(shardNames.map((shard) => openShard(folder, shard, indexName, signal)));
  const shards = new Map<string, SafetensorsFile>();
  for (const [at, result] of opened.entries()) {
    if (result.status === "fulfilled") shards.set(shardNames[at] ?? "", result.value);
  }
  try {
    // The first in order of names, so that the same folder always gives the same error.
    const failed = opened.find((result) => result.status === "rejected");
    if (failed) throw failed.reason;
    return checkpointOf([...shards.values()], matchShards(weightMap, shards, indexName));
  } catch (error) {
    await Promise.all([...shards.values()].map(({ source }) => source.close()));
    throw error;
  }
}

function readWeightMap(text: string, indexName: string): ReadonlyMap<string, string> {
  const index = parseJson(text, { file: indexName, duplicateKeys: "reject" });
  if (!isJsonObject(index)) throw new CheckpointError(indexName, "JSON", `expected an object, got ${quote(index)}`);
  const weightMap = Object.hasOwn(index, "weight_map") ? index.weight_map : undefined;
  if (!isJsonObject(weightMap)) {
    throw new CheckpointError(indexName, "weight_map", `expected an object, got ${quote(weightMap)}`);
  }
  return new Map(
    Object.entries(weightMap).map(([tensor, shard]) => {
      if (typeof shard !== "string" || !isPlainFileName(shard)) {
        // A path would let a downloaded index reach files outside its folder.
        const detail = `expected a plain file name, got ${quote(shard)}`;
        throw new CheckpointError(indexName, "weight_map", detail, { tensor });
      }
      return [tensor, shard];
    }),
  );
}

async function openShard(
  folder: Folder,
  shard: string,
  indexName: string,
  signal: AbortSignal | undefined,
): Promise<SafetensorsFile> {
  if (!(await folder.has(shard))) {
    throw new CheckpointError(
      indexName,
      "weight_map",
      `expected the shard ${quote(shard)} beside it, got no such file`,
    );
  }
  const source = await folder.open(shard);
  try {
    return await readSafetensorsHeader(source, signal);
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** Entries in the order of shards and offsets; throws one error that lists every disagreement. */
function matchShards(
  weightMap: ReadonlyMap<string, string>,
  shards: ReadonlyMap<string, SafetensorsFile>,
  indexName: string,
): ReadonlyMap<string, TensorEntry> {
  const entries = new Map<string, TensorEntry>();
  const holders = new Map<string, string>();
  const problems: { readonly tensor: string; readonly detail: string }[] = [];

  for (const [shard, { tensors }] of shards) {
    for (const [tensor, entry] of tensors) {
      const other = holders.get(tensor);
      const listed = weightMap.get(tensor);
      if (other !== undefined) {
        problems.push({ tensor, detail: `expected in one shard, got it in ${quote(other)} and in ${quote(shard)}` });
      } else if (listed === undefined) {
        problems.push({ tensor, detail: `expected in the index, as ${quote(shard)} has it, got nothing` });
      } else if (listed !== shard && !shards.get(listed)?.tensors.has(tensor)) {
        problems.push({ tensor, detail: `expected in ${quote(listed)}, got it in ${quote(shard)}` });
      }
      holders.set(tensor, shard);
      entries.set(tensor, entry);
    }
  }
  for (const [tensor, shard] of weightMap) {
    if (!holders.has(tensor)) problems.push({ tensor, detail: `expected in ${quote(shard)}, got it in no shard` });
  }

  const [first, ...others] = problems;
  if (first === undefined) return entries;
  const shown = others.slice(0, 9).map(({ tensor, detail }) => `\n  tensor ${quote(tensor)}: ${detail}`);
  const rest = others.length > 9 ? `\n  … and ${others.length - 9} more` : "";
  throw new CheckpointError(indexName, "weight_map", `${first.detail}${shown.join("")}${rest}`, {
    tensor: first.tensor,
  });
}

function checkpointOf(files: readonly SafetensorsFile[], entries: ReadonlyMap<string, TensorEntry>): Checkpoint {
  const find = (name: string): TensorEntry => {
    const entry = entries.get(name);
    if (entry) return entry;
    const file = files.length === 1 ? files[0]?.source.name : undefined;
    throw new CheckpointError(file ?? "checkpoint", "tensors", `expected a tensor ${quote(name)}, got none`, {
      tensor: name,
    });
  };
  const close = async (): Promise<void> => {
    await Promise.all(files.map(({ source }) => source.close()));
  };
  let totalBytes = 0;
  for (const { byteLength } of entries.values()) totalBytes += byteLength;
  return {
    entries,
    metadata: mergeMetadata(files),
    totalBytes,
    async read(name, signal) {
      const { source, offset, byteLength } = find(name);
      try {
        return await source.read(offset, byteLength, signal);
      } catch (cause) {
        // Past the engine's largest array: a sound checkpoint, but not in one piece.
        if (!(cause instanceof RangeError)) throw cause;
        const detail = `${byteLength} bytes cannot be read in one piece (${reasonOf(cause)}); use stream()`;
        throw new CheckpointError(source.name, "data", detail, { tensor: name, cause });
      }
    },
    async readInto(name, target, offset, signal) {
      const { source, offset: begin, byteLength } = find(name);
      checkRange(`${source.name}, tensor ${quote(name)}`, byteLength, offset, target.byteLength);
      await readInto(source, target, begin + offset, signal);
    },
    stream(name, { chunkBytes = 8 * 1024 * 1024, signal } = {}) {
      if (!Number.isSafeInteger(chunkBytes) || chunkBytes < 1) {
        throw new RangeError(`stream: chunkBytes expected a whole number from 1, got ${chunkBytes}`);
      }
      return piecesOf(find(name), chunkBytes, signal);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function* piecesOf(
  entry: TensorEntry,
  chunkBytes: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<TensorPiece> {
  for (let offset = 0; offset < entry.byteLength; offset += chunkBytes) {
    const length = Math.min(chunkBytes, entry.byteLength - offset);
    yield { offset, bytes: await entry.source.read(entry.offset + offset, length, signal) };
  }
}

function mergeMetadata(files: readonly SafetensorsFile[]): Readonly<Record<string, string>> {
  return Object.fromEntries(files.flatMap(({ metadata }) => Object.entries(metadata)));
}
