/**
 * A model ready to talk: weights on a device, tokenizer, chat template, and what the folder says about stopping and sampling.
 */
import type { Device } from "../device/index.js";
import { type Folder, openFolder } from "../formats/index.js";
import { type LanguageModel, type LoadModelOptions, loadLanguageModel } from "../models/index.js";
import {
  type ChatTemplate,
  chatTemplateFromConfig,
  createMinimaxM1ChatTemplate,
  createTokenizer,
  type Tokenizer,
} from "../text/index.js";
import { Engine, type EngineOptions } from "./engine.js";
import { type GenerationConfig, readGenerationConfig } from "./generation-config.js";
import { type ThinkingMarkers, thinkingMarkers } from "./thinking.js";

export interface LoadOptions extends LoadModelOptions, EngineOptions {
  readonly device: Device;
  /** Default: the folder's last name. */
  readonly name?: string;
}

/** How long loading took; its parts go on beside each other. */
export interface LoadTimings {
  /** Opening the checkpoint, reading and handing over its weights. */
  readonly weightSeconds: number;
  /** From the beginning until the first kernels were compiled (WebGPU; else 0). */
  readonly compileSeconds: number;
  /** All of it. */
  readonly seconds: number;
}

/** Close it (or use `await using`) when done. The device stays the caller's. */
export interface Model extends AsyncDisposable {
  readonly name: string;
  readonly device: Device;
  readonly language: LanguageModel;
  readonly tokenizer: Tokenizer;
  /** Absent for models that only continue text. */
  readonly template: ChatTemplate | undefined;
  readonly thinking: ThinkingMarkers | undefined;
  readonly generation: GenerationConfig;
  /** Runs all generations of this model, several at a time. */
  readonly engine: Engine;
  readonly loading: LoadTimings;
  close(): Promise<void>;
}

/**
 * Loads a model folder: a path (Node), an absolute URL, or an opened folder.
 *
 * @throws {ConfigError} {CheckpointError} {WeightsError} {TokenizerError} Nothing stays allocated.
 */
export async function loadModel(where: string | URL | Folder, options: LoadOptions): Promise<Model> {
  const folder = typeof where === "string" || where instanceof URL ? await openFolder(where) : where;
  const { device } = options;
  const tokenizerConfig: unknown = (await folder.has("tokenizer_config.json"))
    ? await folder.readJson("tokenizer_config.json")
    : {};
  const tokenizer = createTokenizer(await folder.readJson("tokenizer.json"), tokenizerConfig);
  const config: unknown = await folder.readJson(options.configFile ?? "config.json");
  let engine = undefined as Engine | undefined; // or the compiler would not see that the callback sets it
  let compiling = Promise.resolve(0);
  const began = performance.now();
  const secondsSince = (start: number) => (performance.now() - start) / 1000;
  const language = await loadLanguageModel(device, folder, {
    ...options,
    onAllocated(model) {
      options.onAllocated?.(model);
      engine = new Engine(model, options);
      if (device.kind !== "webgpu") return;
      compiling = engine.rehearse().then(() => secondsSince(began));
      // Told below, when the weights are there.
      compiling.catch(() => undefined);
    },
  }).catch(async (error: unknown) => {
    await engine?.close();
    throw error;
  });
  const weightSeconds = secondsSince(began);
  try {
    const compileSeconds = await compiling;
    const isMiniMaxRelease = modelType(config).startsWith("minimax_");
    const template = (await folder.has("chat_template.jinja"))
      ? chatTemplateFromConfig({
          ...asRecord(tokenizerConfig),
          chat_template: await folder.readText("chat_template.jinja"),
        })
      : (chatTemplateFromConfig(tokenizerConfig) ?? (isMiniMaxRelease ? createMinimaxM1ChatTemplate() : undefined));
    const generation = await readGenerationConfig(folder, config, tokenizerConfig, tokenizer, isMiniMaxRelease);
    const own = engine;
    if (!own) throw new Error("internal: a model was loaded without being allocated");
    const close = async () => {
      await own.close();
      language.dispose();
    };
    return {
      name: options.name ?? (folder.name.replace(/\/+$/, "").split("/").at(-1) || "model"),
      device,
      language,
      tokenizer,
      template,
      thinking: thinkingMarkers(tokenizer, tokenizerConfig, isMiniMaxRelease),
      generation,
      engine: own,
      loading: { weightSeconds, compileSeconds, seconds: secondsSince(began) },
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await engine?.close();
    language.dispose();
    throw error;
  }
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function modelType(config: unknown): string {
  return String(asRecord(config)["model_type"] ?? "");
}
