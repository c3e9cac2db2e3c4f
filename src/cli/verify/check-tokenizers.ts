/** A folder of reference encodings: reference-NAME.json and chat-NAME.json with NAME/tokenizer.json (or .json.gz). */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { Device } from "../../device/index.js";
import { chatTemplateFromConfig, checkTokenizerReference, createTokenizer } from "../../text/index.js";
import { defaultModel } from "../model-options.js";
import type { Check } from "./compare.js";

const referencePattern = /^(reference|chat)-(\w+)\.json$/;

export function isTokenizerFolder(dir: string): boolean {
  return readdirSync(dir).some((name) => name.startsWith("reference-") && referencePattern.test(name));
}

/** The tokenizer's folder: beside the references, or the shipped model's for "fulgur". */
function folderOf(dir: string, name: string): string | undefined {
  const candidates = [join(dir, name), ...(name === "fulgur" ? [defaultModel] : [])];
  return candidates.find(
    (folder) => existsSync(join(folder, "tokenizer.json")) || existsSync(join(folder, "tokenizer.json.gz")),
  );
}

function readJson(file: string): unknown {
  const bytes = existsSync(file) ? readFileSync(file) : gunzipSync(readFileSync(`${file}.gz`));
  return JSON.parse(bytes.toString("utf8"));
}

export async function* checkTokenizers(_device: Device, dir: string): AsyncGenerator<Check> {
  for (const file of readdirSync(dir).sort()) {
    const name = referencePattern.exec(file)?.[2];
    if (name === undefined) continue;
    const folder = folderOf(dir, name);
    if (folder === undefined) {
      yield { name: file, passed: true, skipped: true, detail: `no tokenizer ${name} here` };
      continue;
    }
    const config = existsSync(join(folder, "tokenizer_config.json"))
      ? readJson(join(folder, "tokenizer_config.json"))
      : {};
    const tokenizer = createTokenizer(readJson(join(folder, "tokenizer.json")), config);
    const report = checkTokenizerReference(tokenizer, readJson(join(dir, file)), chatTemplateFromConfig(config));
    yield {
      name: file,
      passed: report.failed === 0,
      detail: `${report.passed} comparisons equal, ${report.failed} not${report.firstError ? `; first: ${report.firstError}` : ""}`,
    };
  }
}
