/** From the `data` section of a training run to its sources, and to batches of them. */
import type { ChatTemplate, Tokenizer } from "../../text/index.js";
import { type DataSection, readDataSection } from "./data-config.js";
import { DataError } from "./data-error.js";
import type { DataFiles, TextContext } from "./data-files.js";
import { exerciseSource } from "./exercise-source.js";
import { tokenizerFingerprint } from "./fingerprint.js";
import { type PackedBatches, packedBatches, type WeightedSource } from "./packed-batches.js";
import { readMaterial } from "./read-material.js";
import { retrievalSource } from "./retrieval.js";
import type { ShardReader } from "./shard-reader.js";
import { shardSource } from "./shard-source.js";

/** Options of {@link openSources}. */
export interface OpenSourcesOptions {
  /** Tokens of a row at most. */
  readonly sequence: number;
  readonly seed: number | string;
  /** The tokenizer's chat template: exercises and conversations need it. */
  readonly template?: ChatTemplate | undefined;
  /** What relative paths are relative to. Default: the current folder. */
  readonly folder?: string | undefined;
  /** Where shards are kept when the configuration does not say. Default ".fulgur/shards". */
  readonly shards?: string | undefined;
  /** Bytes of a file that have been tokenised. */
  readonly onProgress?: ((file: string, done: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Where files come from. Default: this machine's disk. */
  readonly files?: DataFiles | undefined;
}

/** Options of {@link openBatches}. */
export interface OpenBatchesOptions extends OpenSourcesOptions {
  readonly tokensPerBatch: number;
  /** Token of rows that only fill a batch. Default 0. */
  readonly paddingId?: number | undefined;
}

/** A source of the section; one that draws has no shards. */
export interface OpenSource extends WeightedSource {
  readonly shards: readonly ShardReader[];
}

/** The section's sources, and the files behind them. */
export interface OpenSources {
  readonly section: DataSection;
  readonly sources: readonly OpenSource[];
  /** Of the tokenizer and the template. */
  readonly fingerprint: string;
  readonly notes: readonly string[];
  close(): Promise<void>;
}

/** Batches, and the files behind them. */
export interface OpenBatches extends PackedBatches, AsyncDisposable {
  /** Worth telling: conversations that are longer than a row lose their end. */
  readonly notes: readonly string[];
  close(): Promise<void>;
}

// Prose is cut from the beginning of its file: enough for a long run, little enough to be kept.
const proseCharacters = 32 * 1024 * 1024;
const materialCharacters = 64 * 1024 * 1024;

/**
 * Opens everything that a `data` section names; texts that have no shard yet are tokenised.
 *
 * @throws {DataError} the section, a file or a line of it is not as expected; the message says which and how.
 */
export async function openSources(
  config: unknown,
  tokenizer: Tokenizer,
  options: OpenSourcesOptions,
): Promise<OpenSources> {
  const { sequence, seed, template, signal } = options;
  const section = readDataSection(config);
  const files = options.files ?? (await defaultFiles(options, section.shards));
  const fingerprint = await tokenizerFingerprint(tokenizer, template);
  const context: TextContext = { tokenizer, template, fingerprint, signal };

  const shards: ShardReader[] = [];
  const notes: string[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(shards.splice(0).map((shard) => shard.close()));
  };
  const texts = new Map<string, Promise<string>>();
  const readOnce = (path: string, limit: number): Promise<string> => {
    const key = `${limit} ${path}`;
    const reading = texts.get(key) ?? files.readStart(path, limit, signal);
    texts.set(key, reading);
    return reading;
  };

  const open = async (one: DataSection["sources"][number], index: number): Promise<OpenSource> => {
    const { weight } = one;
    const common = { sequence, seed: `${seed}/source ${index}` };
    if ("files" in one) {
      const { separator, loss } = one;
      const named = typeof one.files === "string" ? [one.files] : one.files;
      const own: ShardReader[] = [];
      for (const file of (await Promise.all(named.map((path) => files.list(path)))).flat()) {
        const onProgress =
          options.onProgress && ((done: number, total: number) => options.onProgress?.(file, done, total));
        const shard = await files.openShard(file, { separator, loss }, { ...context, onProgress });
        own.push(shard);
        shards.push(shard);
      }
      const name = named.join(", ");
      const opened = await shardSource(own, { ...common, name, signal });
      if (opened.truncated > 0) {
        notes.push(`${name}: ${opened.truncated} conversations are longer than ${sequence} tokens and lose their end`);
      }
      return { source: opened, weight, shards: own };
    }
    const [kind, given] = "exercises" in one ? ["exercises", one.exercises] : ["retrieval", one.retrieval];
    const name = `data.sources[${index}].${kind}`;
    if (!template) throw new DataError(name, "", "needs a chat template, and the tokenizer has none");
    const material = await readMaterial(given.material ?? {}, (path) => readOnce(path, materialCharacters));
    const shared = { ...common, name, tokenizer, template, material };
    try {
      if ("exercises" in one) {
        return { source: exerciseSource({ ...shared, ...one.exercises, material }), weight, shards: [] };
      }
      const { prose: path, ...mix } = one.retrieval;
      if (path === undefined && (mix.dense ?? 0) < 1) {
        throw new DataError(name, "prose", 'expected a text file, got nothing (or "dense": 1 for facts alone)');
      }
      const prose = path === undefined ? "" : await readOnce(path, proseCharacters);
      return { source: retrievalSource({ ...shared, ...mix, prose, material }), weight, shards: [] };
    } catch (error) {
      throw readable(name, error);
    }
  };

  try {
    const sources: OpenSource[] = [];
    for (const [index, one] of section.sources.entries()) sources.push(await open(one, index));
    // The sources that draw must fail here, not hours later.
    for (const { source, weight } of sources) {
      if (weight === 0) continue;
      await source.piece(0).catch((error: unknown) => {
        throw readable(source.name, error);
      });
    }
    return { section, sources, fingerprint, notes, close };
  } catch (error) {
    await close();
    throw readable("data", error);
  }
}

/** Opens the sources of a `data` section and packs them into batches. @throws {DataError} as `openSources`. */
export async function openBatches(
  config: unknown,
  tokenizer: Tokenizer,
  options: OpenBatchesOptions,
): Promise<OpenBatches> {
  const { sequence, tokensPerBatch, paddingId } = options;
  const { section, sources, fingerprint, notes, close } = await openSources(config, tokenizer, options);
  try {
    const fewest = Math.ceil(tokensPerBatch / sequence);
    const maximumRows = section.maximumRows ?? fewest + Math.ceil(tokensPerBatch / 8);
    // What is drawn depends on more than the sizes; where files lie does not matter.
    const drawn = section.sources.filter((one) => !("files" in one));
    const identity = JSON.stringify([options.seed, fingerprint, drawn]);
    const padding = paddingId === undefined ? {} : { paddingId };
    const size = { tokensPerBatch, sequence, maximumRows, identity, ...padding };
    return { ...packedBatches(sources, size), notes, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw readable("data", error);
  }
}

/** Wrong values, said where they were written. */
function readable(name: string, error: unknown): unknown {
  if (!(error instanceof RangeError)) return error;
  const text = error.message.replace(`${name}: `, "");
  return new DataError(name, "", text, { cause: error });
}

async function defaultFiles({ folder, shards = ".fulgur/shards" }: OpenSourcesOptions, own: string | undefined) {
  // Loaded on demand: a page has no file system, and its bundle no use for this.
  const { nodeDataFiles } = await import("../node/shards/index.js");
  return nodeDataFiles({ folder, shards: own ?? shards });
}
