/** Opening a model to be timed, at positions beyond those it was trained for if need be: speed does not mind. */
import { existsSync } from "node:fs";
import type { Device } from "../../device/index.js";
import { type Folder, isJsonObject, openFolder } from "../../formats/index.js";
import { loadModel, type Model } from "../../generate/index.js";
import { openDevice, openModel } from "../model-options.js";
import { InputError } from "../output.js";
import type { BenchFlags } from "./suites.js";

export async function openBenchModel(
  flags: BenchFlags,
  signal: AbortSignal,
): Promise<{ readonly model: Model; readonly device: Device } & AsyncDisposable> {
  const { positions } = flags;
  if (positions === undefined) return openModel(flags, { slots: 1, signal });
  if (!/^https?:/.test(flags.model) && !existsSync(flags.model)) {
    throw new InputError(`--model ${flags.model}: there is no such folder`);
  }
  const device = await openDevice(flags);
  try {
    const model = await loadModel(withPositions(await openFolder(flags.model), positions), {
      device,
      precision: flags.precision === "f32" ? "f32" : "f16",
      kv: flags.kv,
      slots: 1,
      signal,
    });
    return {
      model,
      device,
      async [Symbol.asyncDispose]() {
        await model.close();
        await device.close();
      },
    };
  } catch (error) {
    await device.close();
    throw error;
  }
}

/** The same folder with another `max_position_embeddings` in its config. */
export function withPositions(folder: Folder, positions: number): Folder {
  return {
    name: folder.name,
    open: (file) => folder.open(file),
    has: (file) => folder.has(file),
    readText: (file) => folder.readText(file),
    async readJson(file) {
      const json = await folder.readJson(file);
      return file === "config.json" && isJsonObject(json) ? { ...json, max_position_embeddings: positions } : json;
    },
    close: () => folder.close(),
  };
}
