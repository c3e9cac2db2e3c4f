/** Reading config.json: errors that name the field, and the pieces that several families share. */
import { z } from "zod";
import type { RopeScaling } from "../ops/index.js";

/** config.json does not describe a model that can be run. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  constructor(
    readonly source: string,
    readonly problems: readonly string[],
  ) {
    super(`${source}: ${problems.join("; ")}`);
  }
}

/** Applies a schema; every problem is listed with its field. */
export function parseWith<T>(schema: z.ZodType<T>, json: unknown, source: string): T {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  throw new ConfigError(
    source,
    result.error.issues.map((issue) => `${issue.path.join(".") || "config"}: ${issue.message}`),
  );
}

/** A count of at least one, bounded so that products of counts stay exact. */
export const count = z
  .number()
  .int()
  .min(1)
  .max(2 ** 31);

/** Layers, and experts of a layer: bounded, because the table of weight names is made before any file is looked at. */
export const layerCount = count.max(1024);
export const expertCount = count.max(1024);
export const positive = z.number().positive();

const ropeFields = z.looseObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: positive.optional(),
  factor: positive.optional(),
  low_freq_factor: positive.optional(),
  high_freq_factor: positive.optional(),
  original_max_position_embeddings: count.optional(),
  beta_fast: positive.optional(),
  beta_slow: positive.optional(),
  attention_factor: positive.nullish(),
  mscale: z.number().nullish(),
  mscale_all_dim: z.number().nullish(),
  partial_rotary_factor: positive.max(1).optional(),
});

/** The rotary fields of both spellings: `rope_theta` + `rope_scaling` (transformers 4), `rope_parameters` (5). */
export const ropeSchema = {
  rope_theta: positive.optional(),
  rope_scaling: ropeFields.nullish(),
  rope_parameters: ropeFields.nullish(),
  partial_rotary_factor: positive.max(1).optional(),
};

export interface RopeConfig {
  readonly theta: number;
  readonly scaling: RopeScaling | undefined;
  /** Share of each head's channels that is rotated; undefined where the config does not say. */
  readonly partialFactor: number | undefined;
}

interface RopeJson {
  readonly rope_theta?: number | undefined;
  readonly rope_scaling?: z.infer<typeof ropeFields> | null | undefined;
  readonly rope_parameters?: z.infer<typeof ropeFields> | null | undefined;
  readonly partial_rotary_factor?: number | undefined;
}

/** @throws {ConfigError} unknown type, or a field that the type needs is missing. */
export function ropeConfig(json: RopeJson, defaultTheta: number, maxPositions: number, source: string): RopeConfig {
  const fields = json.rope_parameters ?? json.rope_scaling ?? {};
  const theta = json.rope_parameters?.rope_theta ?? json.rope_theta ?? json.rope_scaling?.rope_theta ?? defaultTheta;
  const partialFactor = fields.partial_rotary_factor ?? json.partial_rotary_factor;
  const type = fields.rope_type ?? fields.type ?? "default";
  const need = (name: "factor" | "low_freq_factor" | "high_freq_factor"): number => {
    const value = fields[name];
    if (value === undefined) throw new ConfigError(source, [`rope parameters of type ${type} need ${name}`]);
    return value;
  };
  const originalMaxPositions = fields.original_max_position_embeddings ?? maxPositions;
  const scaling = ((): RopeScaling | undefined => {
    switch (type) {
      case "default":
        return undefined;
      case "linear":
        return { type: "linear", factor: need("factor") };
      case "llama3":
        return {
          type: "llama3",
          factor: need("factor"),
          lowFreqFactor: need("low_freq_factor"),
          highFreqFactor: need("high_freq_factor"),
          originalMaxPositions,
        };
      case "yarn":
        return {
          type: "yarn",
          factor: need("factor"),
          originalMaxPositions,
          ...(fields.beta_fast !== undefined ? { betaFast: fields.beta_fast } : {}),
          ...(fields.beta_slow !== undefined ? { betaSlow: fields.beta_slow } : {}),
          ...(fields.attention_factor ? { attentionFactor: fields.attention_factor } : {}),
          ...(fields.mscale ? { mscale: fields.mscale } : {}),
          ...(fields.mscale_all_dim ? { mscaleAllDim: fields.mscale_all_dim } : {}),
        };
      default:
        throw new ConfigError(source, [
          `rope type "${type}" is not supported: expected default, linear, llama3 or yarn`,
        ]);
    }
  })();
  return { theta, scaling, partialFactor };
}

/** What the attention kernels ask of a head's size: they read four channels at a time and keep a head in registers. */
export function headDimProblems(headDim: number): string[] {
  return headDim % 4 === 0 && headDim <= 256 ? [] : [`head_dim ${headDim}: expected a multiple of 4, at most 256`];
}
