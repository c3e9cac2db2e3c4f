/**
 * What the `data` section of a training run may say.
 *
 *   { "sources": [
 *       { "files": ["books", "more.jsonl.gz"], "weight": 0.7 },
 *       { "exercises": { "families": ["add", "sort"], "direct": 0.3 }, "weight": 0.2 },
 *       { "retrieval": { "prose": "books/one.txt.gz" }, "weight": 0.1 } ] }
 */
import { z } from "zod";
import { DataError } from "./data-error.js";

const weight = z.number().nonnegative().default(1);
const loss = z.enum(["answer", "all"]).optional();
const share = z.number().min(0).max(1);
const range = z.tuple([z.int().positive(), z.int().positive()]);

export const materialSchema = z.strictObject({
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
    turns: z.array(z.number().nonnegative()).min(1).optional(),
    systems: z.array(z.string().min(1)).optional(),
    system: share.optional(),
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
    questions: range.optional(),
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

/** The section with its defaults. */
export type DataSection = z.output<typeof dataSchema>;

/** @throws {DataError} naming every field that is not as expected. */
export function readDataSection(config: unknown): DataSection {
  const parsed = dataSchema.safeParse(config);
  if (!parsed.success) throw configError(config, parsed.error);
  return parsed.data;
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
