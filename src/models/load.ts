/** Loading a model folder: the family by `model_type`, the weights by its table. A new family is one file and one line here. */

import { CALIBRATION_FILE, readCalibration } from "../cache/index.js";
import type { Device } from "../device/index.js";
import { type ByteSource, type Folder, openCheckpoint } from "../formats/index.js";
import { ConfigError } from "./config.js";
import { modelFingerprint } from "./fingerprint.js";
import type { LanguageModel, ModelFamily } from "./language-model.js";
import { llama } from "./llama.js";
import { allocateWeights, type LoadProgress } from "./load-weights.js";
import { disposeAll } from "./measure.js";
import { miniMaxM1 } from "./minimax-m1.js";
import { namedRows } from "./named-rows.js";
import { qwen2 } from "./qwen2.js";
import { qwen3 } from "./qwen3.js";

/** A family with its own types closed over. */
interface AnyFamily {
  readonly name: string;
  readonly modelTypes: readonly string[];
  /** The tree of weight declarations for a config. */
  weights(json: unknown, source: string, shapeOf: (name: string) => readonly number[] | undefined): object;
  load(
    device: Device,
    folder: Folder,
    json: unknown,
    source: string,
    options: LoadModelOptions,
  ): Promise<LanguageModel>;
}

function register<C, W extends object>(family: ModelFamily<C, W>): AnyFamily {
  return {
    name: family.name,
    modelTypes: family.modelTypes,
    weights: (json, source, shapeOf) => family.weights(family.parseConfig(json, source), shapeOf),
    async load(device, folder, json, source, { precision, signal, onProgress, onAllocated }) {
      const config = family.parseConfig(json, source);
      await using checkpoint = await openCheckpoint(folder, signal);
      const tree = family.weights(config, (name) => checkpoint.entries.get(name)?.shape);
      const { weights, fill } = allocateWeights(device, checkpoint, tree, {
        source: folder.name,
        ignored: family.ignoredTensors ?? [],
        precision,
        signal,
        onProgress,
      });
      let dispose = () => disposeAll(weights);
      try {
        const built = family.build(device, config, weights);
        const model = { ...built, tensors: namedRows(tree, weights, (name) => checkpoint.entries.has(name)) };
        dispose = () => model.dispose();
        onAllocated?.(model);
        await fill();
        return model;
      } catch (error) {
        dispose();
        throw error;
      }
    },
  };
}

const families: readonly AnyFamily[] = [register(miniMaxM1), register(llama), register(qwen2), register(qwen3)];

export interface LoadModelOptions {
  /** Name of the config in the folder. Default config.json. */
  readonly configFile?: string;
  /** f16: products of many tokens may round their operands to float16 where the device gains by it. Default f32. */
  readonly precision?: "f32" | "f16" | undefined;
  /**
   * The file that `fulgur calibrate` wrote for this model, for caches that want it; it is closed. Default: the folder's
   * `kv-calibration.safetensors`, if it has one.
   */
  readonly calibration?: ByteSource | "none" | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
  /**
   * Shown the model when all its memory is there and its weights are not yet, so that kernels can be compiled meanwhile.
   * What it throws ends the loading.
   */
  readonly onAllocated?: ((model: LanguageModel) => void) | undefined;
}

/** @throws {ConfigError} no family knows the config's `model_type`. */
export function familyOf(json: unknown, source: string): AnyFamily {
  const type = typeof json === "object" && json !== null && "model_type" in json ? json.model_type : undefined;
  const family = families.find(({ modelTypes }) => modelTypes.includes(String(type)));
  if (!family) {
    const known = families.flatMap(({ modelTypes }) => modelTypes).join(", ");
    throw new ConfigError(source, [`model_type: expected one of ${known}, got ${JSON.stringify(type)}`]);
  }
  return family;
}

/**
 * Loads a language model from a folder with `config.json` and safetensors.
 *
 * @throws {ConfigError} the config names no known family, or describes no model that can be run.
 * @throws {CheckpointError} the files are damaged.
 * @throws {CalibrationError} the calibration file is another model's.
 * @throws {WeightsError} tensors are missing, unexpected or misshapen; all are listed, and nothing stays allocated.
 */
export async function loadLanguageModel(
  device: Device,
  folder: Folder,
  options: LoadModelOptions = {},
): Promise<LanguageModel> {
  const file = options.configFile ?? "config.json";
  const source = `${folder.name}/${file}`;
  const json = await folder.readJson(file);
  const language = await familyOf(json, source).load(device, folder, json, source, options);
  try {
    const calibration = await calibrationOf(folder, language, options);
    return calibration ? { ...language, state: { ...language.state, calibration } } : language;
  } catch (error) {
    language.dispose();
    throw error;
  }
}

async function calibrationOf(folder: Folder, { state }: LanguageModel, { calibration, signal }: LoadModelOptions) {
  if (calibration === "none" || state.softmaxLayers === 0) return undefined;
  if (!calibration && !(await folder.has(CALIBRATION_FILE))) return undefined;
  const file = calibration ?? (await folder.open(CALIBRATION_FILE));
  return readCalibration(file, await modelFingerprint(folder, signal), state);
}
