/** Finding folders of reference values and checking each by what it holds. A new kind of folder is one file and one line here. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, join, relative } from "node:path";
import type { Device } from "../../device/index.js";
import { directoryFolder } from "../../formats/node/index.js";
import { ConfigError, familyOf } from "../../models/index.js";
import { checkChatTemplates } from "./check-chat.js";
import { checkNll } from "./check-nll.js";
import { checkOperations, operationFiles } from "./check-operations.js";
import { checkTokenizers, isTokenizerFolder } from "./check-tokenizers.js";
import { type Check, messageOf } from "./compare.js";
import { checkKv, isKvFolder } from "./kv/check-kv.js";
import { verifyModel } from "./verify-model.js";

export interface FolderCheck extends Check {
  readonly folder: string;
}

/** Checks `dir` and everything below it, in order of names. A folder that cannot be checked is one failed line, and the rest goes on. */
export async function* checkFolder(device: Device, dir: string, only?: string): AsyncGenerator<FolderCheck> {
  yield* walk(device, dir, dir, only);
}

async function* walk(device: Device, root: string, dir: string, only: string | undefined): AsyncGenerator<FolderCheck> {
  const folder = relative(root, dir) || basename(dir);
  const has = (file: string) => existsSync(join(dir, file));
  const subfolders = readdirSync(dir)
    // A link that points nowhere is no folder.
    .filter((name) => statSync(join(dir, name), { throwIfNoEntry: false })?.isDirectory())
    .sort();
  const checker: ((device: Device, dir: string) => AsyncIterable<Check>) | undefined =
    has("config.json") && has("golden.json")
      ? modelChecks
      : operationFiles.some(has)
        ? checkOperations
        : has("minimax_m1.json")
          ? checkChatTemplates
          : isKvFolder(dir)
            ? checkKv
            : isTokenizerFolder(dir)
              ? checkTokenizers
              : undefined;
  const wanted = only === undefined || dir.includes(only);
  if (checker && wanted) {
    try {
      for await (const check of checker(device, dir)) yield { folder, ...check };
    } catch (error) {
      yield {
        folder,
        name: "could not be checked",
        passed: false,
        detail: messageOf(error),
      };
    }
  } else if (subfolders.length === 0 && wanted) {
    yield { folder, name: "", passed: true, detail: "nothing here is known yet", skipped: true };
  }
  // A tokenizer folder's subfolders hold its tokenizers.
  if (checker === checkTokenizers) return;
  for (const name of subfolders) yield* walk(device, root, join(dir, name), only);
}

async function* modelChecks(device: Device, dir: string): AsyncGenerator<Check> {
  const folder = directoryFolder(dir);
  const json = await folder.readJson("config.json");
  try {
    familyOf(json, `${folder.name}/config.json`);
  } catch (error) {
    // Vision-language folders join with the work on them; a text model of unknown type is a failure.
    const isVision = typeof json === "object" && json !== null && "vision_config" in json;
    if (!(error instanceof ConfigError) || !isVision) throw error;
    yield { name: "", passed: true, detail: "vision-language models are not supported yet", skipped: true };
    return;
  }
  // The same model in its other spellings: config.legacy.json, config.minimax_m1.json.
  const configs = readdirSync(dir)
    .filter((name) => /^config(\.\w+)?\.json$/.test(name))
    .sort();
  for (const config of configs) {
    const prefix = config === "config.json" ? "" : `${config}: `;
    const { checks } = await verifyModel(device, folder, config);
    for (const check of checks) yield { ...check, name: prefix + check.name };
  }
  if (await folder.has("golden-nll.json")) yield* checkNll(device, folder);
}
