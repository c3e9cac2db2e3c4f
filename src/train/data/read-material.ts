/** Files that exercises draw from: words, dictionary lines, stories. */
import { z } from "zod";
import { commonWords, type Gloss, type Material, parseWords } from "../tasks/index.js";
import type { materialSchema } from "./data-config.js";
import { DataError } from "./data-error.js";

/** @throws {DataError} a line is not as expected. */
export async function readMaterial(
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
