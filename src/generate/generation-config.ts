/** What a model folder says about stopping and sampling: generation_config.json, config.json, the tokenizer's end token. */
import { z } from "zod";
import type { Folder } from "../formats/index.js";
import { ConfigError } from "../models/index.js";
import type { Tokenizer } from "../text/index.js";
import type { SamplingOptions } from "./request.js";

export interface GenerationConfig {
  readonly stopIds: readonly number[];
  readonly sampling: Omit<SamplingOptions, "seed">;
  readonly maxTokens: number | undefined;
}

const ids = z.union([z.number().int().min(0), z.array(z.number().int().min(0))]).nullish();

const schema = z.looseObject({
  eos_token_id: ids,
  do_sample: z.boolean().optional(),
  temperature: z.number().min(0).nullish(),
  top_k: z.number().int().min(0).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().positive().nullish(),
  max_new_tokens: z.number().int().min(1).nullish(),
});

const endToken = z.looseObject({
  eos_token: z.union([z.string(), z.looseObject({ content: z.string() })]).nullish(),
});

export async function readGenerationConfig(
  folder: Folder,
  config: unknown,
  tokenizerConfig: unknown,
  tokenizer: Tokenizer,
  isMiniMaxRelease: boolean,
): Promise<GenerationConfig> {
  const file = "generation_config.json";
  const json: unknown = (await folder.has(file)) ? await folder.readJson(file) : {};
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    throw new ConfigError(
      `${folder.name}/${file}`,
      parsed.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`),
    );
  }
  const g = parsed.data;
  const stopIds = new Set<number>(asList(g.eos_token_id));
  const fromConfig = schema.pick({ eos_token_id: true }).safeParse(config);
  if (stopIds.size === 0 && fromConfig.success) for (const id of asList(fromConfig.data.eos_token_id)) stopIds.add(id);
  const end = endToken.safeParse(tokenizerConfig);
  const endText = end.success ? end.data.eos_token : undefined;
  const endId = endText ? tokenizer.idOf(typeof endText === "string" ? endText : endText.content) : undefined;
  if (endId !== undefined) stopIds.add(endId);
  // Report §6.1: temperature 1.0, top-p 0.95.
  const usual = isMiniMaxRelease ? { temperature: 1, topP: 0.95 } : { temperature: 0, topP: 1 };
  const samples = g.do_sample ?? isMiniMaxRelease;
  return {
    stopIds: [...stopIds],
    sampling: {
      temperature: samples ? (g.temperature ?? 1) : 0,
      topK: samples ? (g.top_k ?? 0) : 0,
      topP: samples ? (g.top_p ?? usual.topP) : 1,
      minP: samples ? (g.min_p ?? 0) : 0,
      repetitionPenalty: g.repetition_penalty ?? 1,
    },
    maxTokens: g.max_new_tokens ?? undefined,
  };
}

function asList(value: number | readonly number[] | null | undefined): readonly number[] {
  return value === null || value === undefined ? [] : typeof value === "number" ? [value] : value;
}
