/** What a training configuration names, opened: the model with its tokenizer, the data, the validation's batches. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { Device } from "../../device/index.js";
import { type Folder, openFolder, parseJson } from "../../formats/index.js";
import { directoryFolder } from "../../formats/node/index.js";
import { type LanguageModel, loadLanguageModel } from "../../models/index.js";
import { type ChatTemplate, chatTemplateFromConfig, createTokenizer, type Tokenizer } from "../../text/index.js";
import { byteTokenizerFiles, type OpenBatches, openBatches, type TrainingBatch } from "../../train/data/index.js";
import { initialisedFolder } from "../../train/initialise.js";
import { type CheckpointFile, textFile } from "../../train/node/run-training.js";
import { type TrainingConfig, TrainingConfigError } from "../../train/training-config.js";
import { widenedFolder } from "../../train/widen.js";
import { InputError } from "../output.js";

export interface TrainedModel {
  readonly language: LanguageModel;
  readonly tokenizer: Tokenizer;
  readonly template: ChatTemplate | undefined;
  /** config.json and the tokenizer's files. */
  readonly companions: readonly CheckpointFile[];
}

/** Files that belong to a model beside config and weights. */
const COMPANIONS = [
  "tokenizer.json",
  "tokenizer_config.json",
  "generation_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
];

export interface OpenModelOptions {
  /** Path of the configuration, for errors. */
  readonly source: string;
  /** A checkpoint to go on from: the model is read from it. */
  readonly checkpoint?: string | undefined;
  readonly signal: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/** The model in float32. */
export async function openTrainedModel(
  config: TrainingConfig,
  device: Device,
  { source, checkpoint, signal, onProgress }: OpenModelOptions,
): Promise<TrainedModel> {
  const { precision } = config;
  const load = (folder: Folder) =>
    loadLanguageModel(device, folder, {
      ...{ precision, signal, calibration: "none" },
      onProgress: ({ done, total }) => onProgress?.(done, total),
    });
  const from = checkpoint ?? (typeof config.model === "string" ? config.model : undefined);
  if (from !== undefined) {
    if (!/^https?:/.test(from) && !existsSync(from)) {
      throw new InputError(`${source}: model: there is no folder ${from}`);
    }
    const folder = await openFolder(from);
    await using wide = await widenedFolder(folder);
    const language = await load(wide.folder);
    return { language, ...(await textOf(folder)), companions: await companionsOf(folder, wide.config) };
  }
  const { model } = config;
  if (typeof model === "string") throw new Error("internal: a folder was opened above");
  const shape = typeof model.config === "string" ? await readConfig(model.config, source) : model.config;
  const files = model.tokenizer === "bytes" ? byteFiles() : await filesOf(directoryFolder(model.tokenizer), source);
  const options = {
    seed: model.seed ?? config.seed,
    ...(model.deviation === undefined ? {} : { deviation: model.deviation }),
  };
  const folder = await initialisedFolder(shape, `${source}: model.config`, options, files);
  const { tokenizer, template } = await textOf(folder);
  const language = await load(folder);
  const most = tokenizer.vocabSize;
  if (language.vocabSize < most) {
    language.dispose();
    throw new TrainingConfigError(source, [
      `model.config.vocab_size: expected at least ${most} (the tokenizer's), got ${language.vocabSize}`,
    ]);
  }
  return { language, tokenizer, template, companions: await companionsOf(folder, shape) };
}

async function readConfig(path: string, source: string): Promise<object> {
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new InputError(`${source}: model.config: ${path} could not be read`, { cause });
  });
  const json = parseJson(text, { file: path });
  if (typeof json !== "object" || json === null) throw new InputError(`${path}: expected an object`);
  return json;
}

function byteFiles(): Record<string, string> {
  const { tokenizer, config } = byteTokenizerFiles();
  return { "tokenizer.json": JSON.stringify(tokenizer), "tokenizer_config.json": JSON.stringify(config) };
}

async function filesOf(folder: Folder, source: string): Promise<Record<string, string>> {
  if (!(await folder.has("tokenizer.json"))) {
    throw new InputError(`${source}: model.tokenizer: there is no tokenizer.json in ${folder.name}`);
  }
  const found = await Promise.all(
    COMPANIONS.map(
      async (name): Promise<[string, string][]> =>
        (await folder.has(name)) ? [[name, await folder.readText(name)]] : [],
    ),
  );
  return Object.fromEntries(found.flat());
}

async function textOf(folder: Folder) {
  const config: unknown = (await folder.has("tokenizer_config.json"))
    ? await folder.readJson("tokenizer_config.json")
    : {};
  const tokenizer = createTokenizer(await folder.readJson("tokenizer.json"), config);
  const own = (await folder.has("chat_template.jinja")) ? await folder.readText("chat_template.jinja") : undefined;
  const settings = typeof config === "object" && config !== null ? config : {};
  const template = chatTemplateFromConfig(own === undefined ? config : { ...settings, chat_template: own });
  return { tokenizer, template };
}

async function companionsOf(folder: Folder, config: object): Promise<CheckpointFile[]> {
  const found = await Promise.all(
    COMPANIONS.map(async (name) => ((await folder.has(name)) ? [textFile(name, await folder.readText(name))] : [])),
  );
  return [textFile("config.json", `${JSON.stringify(config, null, 1)}\n`), ...found.flat()];
}

export interface DataOptions {
  readonly signal: AbortSignal;
  readonly onProgress?: (file: string, done: number, total: number) => void;
}

/** The endless batches of the training. */
export function openTrainingData(
  config: TrainingConfig,
  { tokenizer, template }: TrainedModel,
  { signal, onProgress }: DataOptions,
): Promise<OpenBatches> {
  const { batch, data, seed } = config;
  return openBatches(data, tokenizer, {
    ...{ tokensPerBatch: batch.tokens, sequence: batch.sequence, seed, template, signal },
    ...(onProgress ? { onProgress } : {}),
  });
}

/** The validation's batches: the first so many of its data, the same every time. */
export async function validationBatches(
  config: TrainingConfig,
  { tokenizer, template }: TrainedModel,
  { signal }: DataOptions,
): Promise<TrainingBatch[]> {
  const { validation, batch } = config;
  if (!validation) return [];
  const size = { tokensPerBatch: batch.tokens, sequence: batch.sequence };
  await using source = await openBatches(validation.data, tokenizer, {
    ...{ ...size, seed: "validation", template, signal },
  });
  const batches: TrainingBatch[] = [];
  for (let i = 0; i < validation.batches; i++) batches.push(await source.next());
  return batches;
}
