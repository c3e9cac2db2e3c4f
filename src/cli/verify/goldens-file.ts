/** The golden files of a model folder: three shapes, each with its schema. */
import { z } from "zod";
import { type Checkpoint, type Folder, openSafetensors, toFloat64 } from "../../formats/index.js";
import { ConfigError } from "../../models/index.js";

const ids = z.array(z.number().int().min(0));

const tolerance = z.looseObject({ relative_rms: z.number().positive() }).optional();

/** Random checkpoints: logits and hidden states of a reference implementation. */
const sequencesSchema = z.looseObject({
  sequences: z.array(
    z.looseObject({
      name: z.string(),
      ids,
      logit_positions: ids,
      logits: z.string(),
      loss: z.number().optional(),
    }),
  ),
  hidden: z.looseObject({ ids, tensors: z.array(z.string()) }).optional(),
  greedy: z.looseObject({ prompt: ids, continuation: ids, min_logit_margin: z.number().optional() }).optional(),
  gradient: z.looseObject({ ids, loss: z.number() }).nullish(),
  tolerance,
});

/** Trained models: prompts with the first position's logits and a greedy continuation. */
const casesSchema = z.looseObject({
  cases: z.array(
    z.looseObject({
      prompt: z.string(),
      ids,
      continuation: ids,
      smallest_gap_between_first_and_second_logit: z.number().optional(),
    }),
  ),
  tolerance,
});

/** stories260K: logits at all prompt positions, a long continuation, tokenizer cases. */
const promptsSchema = z.looseObject({
  prompts: z.array(
    z.looseObject({
      text: z.string(),
      ids,
      logits: z.string(),
      continuation: ids,
      min_logit_margin: z.number().optional(),
    }),
  ),
  tokenizer: z.array(z.looseObject({ text: z.string(), ids, decoded: z.string() })).optional(),
  tolerance,
});

export type Golden =
  | { readonly shape: "sequences"; readonly data: z.infer<typeof sequencesSchema> }
  | { readonly shape: "cases"; readonly data: z.infer<typeof casesSchema> }
  | { readonly shape: "prompts"; readonly data: z.infer<typeof promptsSchema> };

/** Applies a schema to a file of reference values. @throws {ConfigError} one line with every field at fault. */
export function parseReference<T>(schema: z.ZodType<T>, json: unknown, source: string): T {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  throw new ConfigError(
    source,
    result.error.issues.map((issue) => `${issue.path.join(".") || "the file"}: ${issue.message}`),
  );
}

/** @throws {ConfigError} the file has none of the three shapes. */
export async function readGolden(folder: Folder): Promise<Golden> {
  const json = await folder.readJson("golden.json");
  const has = (key: string) => typeof json === "object" && json !== null && key in json;
  const source = `${folder.name}/golden.json`;
  const parse = <T>(schema: z.ZodType<T>): T => parseReference(schema, json, source);
  if (has("sequences")) return { shape: "sequences", data: parse(sequencesSchema) };
  if (has("cases")) return { shape: "cases", data: parse(casesSchema) };
  if (has("prompts")) return { shape: "prompts", data: parse(promptsSchema) };
  throw new ConfigError(source, ["expected one of sequences, cases, prompts"]);
}

/** Named arrays of a safetensors file of reference values, as float64. */
export class ReferenceTensors implements AsyncDisposable {
  private constructor(
    private readonly checkpoint: Checkpoint,
    private readonly source: string,
  ) {}

  static async open(folder: Folder, file: string): Promise<ReferenceTensors> {
    return new ReferenceTensors(await openSafetensors(await folder.open(file)), `${folder.name}/${file}`);
  }

  has(name: string): boolean {
    return this.checkpoint.entries.has(name);
  }

  shape(name: string): readonly number[] {
    return this.checkpoint.entries.get(name)?.shape ?? [];
  }

  async values(name: string): Promise<Float64Array> {
    const entry = this.checkpoint.entries.get(name);
    if (!entry) throw new ConfigError(this.source, [`no tensor ${name}`]);
    return toFloat64(entry.dtype, await this.checkpoint.read(name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.checkpoint.close();
  }
}
