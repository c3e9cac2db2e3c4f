/**
 * The `data` section of a training run: what it may say, and the batches that come of it.
 *
 *   { "sources": [
 *       { "files": ["books", "more.jsonl.gz"], "weight": 0.7 },
 *       { "exercises": { "families": ["add", "sort"], "direct": 0.3 }, "weight": 0.2 },
 *       { "retrieval": { "prose": "books/one.txt.gz" }, "weight": 0.1 } ] }
 */
import { z } from "zod";
import type { ChatTemplate, Tokenizer } from "../../text/index.js";
import { commonWords, type Gloss, type Material, parseWords } from "../tasks/index.js";
import { DataError } from "./data-error.js";
import type { DataFiles, TextContext } from "./data-files.js";
import { exerciseSource } from "./exercise-source.js";
import { tokenizerFingerprint } from "./fingerprint.js";
import { type PackedBatches, packedBatches, type WeightedSource } from "./packed-batches.js";
import type { PieceSource } from "./piece.js";
import { retrievalSource } from "./retrieval.js";
import type { ShardReader } from "./shard-reader.js";
import { shardSource } from "./shard-source.js";

const weight = z.number().nonnegative().default(1);
const loss = z.enum(["answer", "all"]).optional();
const share = z.number().min(0).max(1);
const range = z.tuple([z.int().positive(), z.int().positive()]);

const materialSchema = z.strictObject({
  /** Words in order of frequency, apart by blanks. */
  words: z.string().optional(),
  /** JSON lines: [word, part, meaning, broader word]. */
  glosses: z.string().optional(),
  /** JSON lines: [topic, text]. */
  stories: z.string().optional(),
  /** JSON lines: [beginning, continuation]. */
  continuations: z.string().optional(),
});

const filesSchema = z.strictObject({
  files: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)], {
    error: "expected a path or a list of paths, of files or folders",
  }),
  weight,
  separator: z.string().optional(),
  loss,
});

const exercisesSchema = z.strictObject({
  exercises: z.strictObject({
    families: z
      .union([z.array(z.string()).min(1), z.record(z.string(), z.number().nonnegative())], {
        error: "expected names of families, or names with weights",
      })
      .optional(),
    levels: z.array(z.number().nonnegative()).length(3).optional(),
    mode: z.enum(["think", "direct", "mixed"]).optional(),
    direct: share.optional(),
    loss,
    material: materialSchema.optional(),
  }),
  weight,
});

const retrievalSchema = z.strictObject({
  retrieval: z.strictObject({
    prose: z.string().optional(),
    tokens: range.optional(),
    facts: range.optional(),
    dense: share.optional(),
    direct: share.optional(),
    loss,
    material: materialSchema.optional(),
  }),
  weight,
});

/** What the `data` section may say. */
export const dataSchema = z.strictObject({
  sources: z.array(z.union([filesSchema, exercisesSchema, retrievalSchema])).min(1),
  /** Folder where tokenised files are kept. */
  shards: z.string().optional(),
  /** Rows of a batch at most. Default: one for 8 tokens, and what full rows need. */
  maximumRows: z.int().positive().optional(),
});

/** The `data` section as it is written. */
export type DataConfig = z.input<typeof dataSchema>;

/** Options of {@link openBatches}. */
export interface OpenBatchesOptions {
  readonly tokensPerBatch: number;
  /** Tokens of a row at most. */
  readonly sequence: number;
  readonly seed: number | string;
  /** The tokenizer's chat template: exercises and conversations need it. */
  readonly template?: ChatTemplate | undefined;
  /** What relative paths are relative to. Default: the current folder. */
  readonly folder?: string | undefined;
  /** Where shards are kept when the configuration does not say. Default ".fulgur/shards". */
  readonly shards?: string | undefined;
  /** Token of rows that only fill a batch. Default 0. */
  readonly paddingId?: number | undefined;
  /** Bytes of a file that have been tokenised. */
  readonly onProgress?: ((file: string, done: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Where files come from. Default: this machine's disk. */
  readonly files?: DataFiles | undefined;
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
export async function openBatches(
  config: unknown,
  tokenizer: Tokenizer,
  options: OpenBatchesOptions,
): Promise<OpenBatches> {
  const { sequence, tokensPerBatch, seed, template, signal, paddingId } = options;
  const parsed = dataSchema.safeParse(config);
  if (!parsed.success) throw configError(config, parsed.error);
  const data = parsed.data;
  const files = options.files ?? (await defaultFiles(options, data.shards));
  const context: TextContext = {
    tokenizer,
    template,
    fingerprint: await tokenizerFingerprint(tokenizer, template),
    signal,
  };

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

  const open = async (source: (typeof data.sources)[number], index: number): Promise<PieceSource> => {
    const common = { sequence, seed: `${seed}/source ${index}` };
    if ("files" in source) {
      const { separator, loss } = source;
      const named = typeof source.files === "string" ? [source.files] : source.files;
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
      return opened;
    }
    const [kind, given] = "exercises" in source ? ["exercises", source.exercises] : ["retrieval", source.retrieval];
    const name = `data.sources[${index}].${kind}`;
    if (!template) throw new DataError(name, "", "needs a chat template, and the tokenizer has none");
    const material = await readMaterial(given.material ?? {}, (path) => readOnce(path, materialCharacters));
    const shared = { ...common, name, tokenizer, template, material };
    try {
      if ("exercises" in source) return exerciseSource({ ...shared, ...source.exercises, material });
      const { prose: path, ...mix } = source.retrieval;
      if (path === undefined && (mix.dense ?? 0) < 1) {
        throw new DataError(name, "prose", 'expected a text file, got nothing (or "dense": 1 for facts alone)');
      }
      const prose = path === undefined ? "" : await readOnce(path, proseCharacters);
      return retrievalSource({ ...shared, ...mix, prose, material });
    } catch (error) {
      throw readable(name, error);
    }
  };

  try {
    const sources: WeightedSource[] = [];
    for (const [index, source] of data.sources.entries()) {
      sources.push({ source: await open(source, index), weight: source.weight });
    }
    // The sources that draw must fail here, not hours later.
    for (const { source, weight } of sources) {
      if (weight === 0) continue;
      await source.piece(0).catch((error: unknown) => {
        throw readable(source.name, error);
      });
    }
    const fewest = Math.ceil(tokensPerBatch / sequence);
    const maximumRows = data.maximumRows ?? fewest + Math.ceil(tokensPerBatch / 8);
    const size = { tokensPerBatch, sequence, maximumRows, ...(paddingId === undefined ? {} : { paddingId }) };
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

async function defaultFiles({ folder, shards = ".fulgur/shards" }: OpenBatchesOptions, own: string | undefined) {
  // Loaded on demand: a page has no file system, and its bundle no use for this.
  const { nodeDataFiles } = await import("../node/shards/index.js");
  return nodeDataFiles({ folder, shards: own ?? shards });
}

async function readMaterial(
  paths: z.infer<typeof materialSchema>,
  read: (path: string) => Promise<string>,
): Promise<Material> {
  const lines = async <T>(path: string, row: z.ZodType<T>): Promise<T[]> =>
    (await read(path)).split("\n").flatMap((line, i) => {
      if (line.trim() === "") return [];
      let value: unknown;
      try {
        value = JSON.parse(line);
      } catch (cause) {
        throw new DataError(path, `line ${i + 1}`, "expected JSON", { cause });
      }
      const parsed = row.safeParse(value);
      if (parsed.success) return [parsed.data];
      throw new DataError(path, `line ${i + 1}`, parsed.error.issues[0]?.message ?? "not as expected");
    });
  const pair = z.tuple([z.string(), z.string()]);
  const gloss: z.ZodType<Gloss> = z.tuple([z.string(), z.enum(["n", "v", "a"]), z.string(), z.string()]);
  return {
    words: paths.words === undefined ? commonWords : parseWords(await read(paths.words)),
    ...(paths.glosses === undefined ? {} : { glosses: await lines(paths.glosses, gloss) }),
    ...(paths.stories === undefined ? {} : { stories: await lines(paths.stories, pair) }),
    ...(paths.continuations === undefined ? {} : { continuations: await lines(paths.continuations, pair) }),
  };
}

/** The kinds of sources are told apart by their one key; zod's own error would list what all three expected. */
function configError(config: unknown, error: z.ZodError): DataError {
  const issues = error.issues.flatMap((issue): { path: readonly PropertyKey[]; message: string }[] => {
    if (issue.code !== "invalid_union") return [issue];
    const at = issue.path;
    // The value at data.sources[i].
    const value = at.reduce<unknown>((part, key) => Object(part)[key], config);
    const kinds = { files: filesSchema, exercises: exercisesSchema, retrieval: retrievalSchema } as const;
    const found = (Object.keys(kinds) as (keyof typeof kinds)[]).filter((kind) => Object.hasOwn(Object(value), kind));
    if (found.length !== 1 || at.length !== 2) {
      return [{ path: at, message: 'expected one of "files", "exercises" and "retrieval"' }];
    }
    const own = kinds[found[0]!].safeParse(value);
    return own.success ? [] : own.error.issues.map((one) => ({ path: [...at, ...one.path], message: one.message }));
  });
  const text = issues.map(({ path, message }) => `data${path.map(step).join("")}: ${message}`).join("; ");
  return new DataError("configuration", "", text);
}

const step = (key: PropertyKey): string => (typeof key === "number" ? `[${key}]` : `.${String(key)}`);
