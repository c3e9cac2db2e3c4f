/**
 * The configuration file of `fulgur train`.
 *
 * Every field is checked before anything is opened; what is wrong is listed with its place, what was expected, and all at once.
 */
import { z } from "zod";

/** The configuration is not as expected. */
export class TrainingConfigError extends Error {
  override readonly name = "TrainingConfigError";
  constructor(
    readonly source: string,
    readonly problems: readonly string[],
  ) {
    super(`${source}: ${problems.join("; ")}`);
  }
}

const count = z.int({ error: "expected a whole number from 1" }).min(1, { error: "expected a whole number from 1" });
const share = z
  .number({ error: "expected a number from 0 to 1" })
  .min(0, { error: "expected a number from 0 to 1" })
  .max(1, { error: "expected a number from 0 to 1" });
const beta = z
  .number({ error: "expected a number from 0, below 1" })
  .min(0, { error: "expected a number from 0, below 1" })
  .lt(1, { error: "expected a number from 0, below 1" });
const positive = z.number({ error: "expected a number above 0" }).positive({ error: "expected a number above 0" });
const notNegative = z.number({ error: "expected a number from 0" }).min(0, { error: "expected a number from 0" });
const seed = z.union([z.int(), z.string()], { error: "expected a whole number or a text" });
const object = z.record(z.string(), z.unknown(), { error: "expected an object" });
const steps = z.int({ error: "expected a whole number from 0" }).min(0, { error: "expected a whole number from 0" });

const scratch = z.strictObject({
  /** config.json of a family, or the path of one. */
  config: z.union([z.string().min(1), object], { error: "expected an object (as in config.json) or a path" }),
  /** "bytes", or a folder with tokenizer.json. */
  tokenizer: z.string({ error: 'expected "bytes" or a folder with tokenizer.json' }).min(1),
  seed: seed.optional(),
  /** Standard deviation of the weights. Default: the config's initializer_range, or 0.02. */
  deviation: positive.optional(),
});

const schedule = z.discriminatedUnion(
  "kind",
  [
    z.strictObject({ kind: z.literal("constant"), warmupSteps: steps.optional() }),
    z.strictObject({ kind: z.literal("cosine"), warmupSteps: steps.optional(), final: share.optional() }),
    z.strictObject({
      kind: z.literal("wsd"),
      warmupSteps: steps.optional(),
      decaySteps: steps,
      final: share.optional(),
    }),
  ],
  { error: 'expected an object with kind "constant", "cosine" or "wsd"' },
);

const lora = z.strictObject({
  rank: count,
  /** The adapters' product is multiplied by alpha / rank. Default: the rank. */
  alpha: positive.optional(),
  /** Ends of tensor names, without ".weight": "q_proj". Default: all projections of attention. */
  targets: z.array(z.string().min(1)).min(1).optional(),
  /** Writes the merged model into each checkpoint too. */
  merge: z.boolean({ error: "expected true or false" }).default(false),
  seed: seed.optional(),
});

export const trainingSchema = z.strictObject({
  model: z.union([z.string().min(1), scratch], {
    error: 'expected a model folder, or { "config": …, "tokenizer": … } for a model from scratch',
  }),
  /** See `openBatches`. */
  data: object,
  /** Folder of checkpoints, metrics and report. */
  out: z.string({ error: "expected a path" }).min(1).optional(),
  steps: count,
  batch: z.strictObject({
    /** Tokens of a batch. */
    tokens: count,
    /** Tokens of a row at most. */
    sequence: count,
    /** Batches a step. */
    accumulate: count.default(1),
  }),
  optimiser: z
    .strictObject({
      kind: z.enum(["adamw", "muon"], { error: 'expected "adamw" or "muon"' }).default("adamw"),
      learningRate: positive,
      beta1: beta.optional(),
      beta2: beta.optional(),
      eps: positive.optional(),
      decay: notNegative.optional(),
      momentum: beta.optional(),
      emaDecay: beta.optional(),
      maxNorm: positive.default(1),
    })
    .refine(({ kind, emaDecay }) => kind === "adamw" || emaDecay === undefined, {
      error: "is kept with adamw only",
      path: ["emaDecay"],
    }),
  schedule: schedule.default({ kind: "cosine", warmupSteps: 0, final: 0.1 }),
  precision: z.enum(["f32", "f16"], { error: 'expected "f32" or "f16"' }).default("f32"),
  /** Coefficient of the routers' load-balancing loss; a tenth to a thousandth. */
  balance: notNegative.default(0),
  recompute: z.boolean({ error: "expected true or false" }).default(false),
  validation: z.strictObject({ data: object, batches: count.default(8), every: count }).optional(),
  checkpoints: z.strictObject({ every: count.optional(), keep: count.default(3) }).default({ keep: 3 }),
  lora: lora.optional(),
  seed: seed.default(0),
});

export type TrainingConfig = z.infer<typeof trainingSchema>;

/** @param source named in errors. @throws {TrainingConfigError} */
export function parseTrainingConfig(json: unknown, source: string): TrainingConfig {
  const result = trainingSchema.safeParse(json);
  if (!result.success) {
    throw new TrainingConfigError(
      source,
      result.error.issues.map((issue) => {
        const place = issue.path.join(".") || "the file";
        if (issue.code === "unrecognized_keys") return `${place}: there is no field ${issue.keys.join(", ")}`;
        const isMissing = valueAt(json, issue.path) === undefined;
        return `${place}: ${isMissing ? `missing, ${issue.message}` : issue.message}`;
      }),
    );
  }
  const { batch, balance, recompute } = result.data;
  if (balance > 0 && recompute) {
    throw new TrainingConfigError(source, ["balance: cannot be had together with recompute"]);
  }
  if (batch.sequence > batch.tokens) {
    throw new TrainingConfigError(source, [
      `batch.sequence: a row of ${batch.sequence} tokens does not fit into a batch of ${batch.tokens}`,
    ]);
  }
  return result.data;
}

function valueAt(json: unknown, path: readonly PropertyKey[]): unknown {
  let value = json;
  for (const key of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[key];
  }
  return value;
}
