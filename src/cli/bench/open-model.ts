/** Opening a model to be timed, at positions beyond those it was trained for if need be: speed does not mind. */
import { type Folder, isJsonObject } from "../../formats/index.js";
import { openModel } from "../model-options.js";
import type { BenchFlags } from "./suites.js";

export function openBenchModel(flags: BenchFlags, signal: AbortSignal): ReturnType<typeof openModel> {
  const { positions } = flags;
  const adapt = positions === undefined ? undefined : (folder: Folder) => withPositions(folder, positions);
  return openModel(flags, { slots: 1, signal }, adapt);
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
