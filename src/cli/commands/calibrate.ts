/** `fulgur calibrate`: what the packed caches want to know about a model's keys, in a small file. */
import { join } from "node:path";
import type { Command } from "commander";
import { CALIBRATION_FILE, calibrationTensors, type KvCalibration } from "../../cache/index.js";
import { openFolder, writeSafetensors } from "../../formats/index.js";
import { writeFileAtomic } from "../../formats/node/index.js";
import type { LanguageModel } from "../../models/index.js";
import { modelFingerprint, sha256 } from "../../models/index.js";
import { type KeyMeans, keyMeans, kvWidths } from "../../train/quantize/index.js";
import { readText } from "../eval/read-text.js";
import { catchInterrupts } from "../interrupt.js";
import { addDeviceOptions, type DeviceOptions, defaultModel, openModel, wholeNumber } from "../model-options.js";
import { InputError, print, printJson, progressLine, say } from "../output.js";

interface Options extends DeviceOptions {
  readonly model: string;
  readonly text: readonly string[];
  readonly out?: string;
  readonly context?: number;
  readonly limit?: number;
  readonly bits?: number;
  readonly json?: true;
}

/** Fewer tokens make a mean that depends on their subject. */
const ENOUGH_TOKENS = 30_000;

export function define(program: Command): void {
  const command = program
    .command("calibrate")
    .description("Average a model's keys and values over a text, for the caches 2bit, meansplit and rotatekv.")
    .option("--model <dir>", "model folder", defaultModel)
    .requiredOption(
      "--text <file>",
      "training text, plain or .gz; may be given several times",
      (file: string, before: readonly string[] = []) => [...before, file],
    )
    .option("--out <file>", `file to write (default: ${CALIBRATION_FILE} in the model folder, where it is found again)`)
    .option("--context <n>", "tokens that see each other (default: 2048, or the model's most)", wholeNumber(8))
    .option("--limit <tokens>", "read so many tokens at most", wholeNumber(8))
    .option(
      "--bits <n>",
      "also seek the layers that most want 3 bits, as many as stay within so many effective bits of a full context (for the cache 2bit)",
      (text) => Number(text),
    )
    .option("--json", "one JSON object on standard output");
  addDeviceOptions(command)
    .addHelpText(
      "after",
      "\nUse text like that which the model was trained on, 30,000 tokens and more, and none that it is measured with.\n\nExamples:\n  $ npm start --silent -- calibrate --model test/fixtures/models/qwen3_moe --text README.md --out /tmp/kv-calibration.safetensors --limit 500\n  $ npm start --silent -- calibrate --text README.md --limit 2000 --context 512 --out /tmp/mini-calibration.safetensors --json\n  $ npm start --silent -- calibrate --model DIR --text BOOKS.txt.gz --bits 3",
    )
    .action(calibrate);
}

async function calibrate(options: Options): Promise<void> {
  const texts = await Promise.all(options.text.map((file) => readText(file, "--text")));
  using interrupts = catchInterrupts();
  const { signal } = interrupts;
  const began = performance.now();
  const out = options.out ?? join(options.model, CALIBRATION_FILE);
  try {
    const folder = await openFolder(options.model);
    const fingerprint = await modelFingerprint(folder, signal).finally(() => folder.close());
    // The folder's own file may be of another model: it is about to be replaced.
    const flags = { ...options, kv: "f32", precision: "f32" } as const;
    await using opened = await openModel(flags, { slots: 1, signal, calibration: "none" });
    const { language, tokenizer } = opened.model;
    const all = texts.flatMap((text) => tokenizer.encode(text));
    const ids = all.slice(0, options.limit ?? all.length);
    const most = language.state.maxPositions;
    if (options.context !== undefined && options.context > most) {
      throw new InputError(`--context ${options.context}: the model's longest sequence is ${most}`);
    }
    const line = progressLine("Calibrating");
    let means: Awaited<ReturnType<typeof keyMeans>>;
    try {
      means = await keyMeans(language, ids, {
        ...(options.context === undefined ? {} : { context: options.context }),
        signal,
        onProgress: (done, total) => line.update(done, total, `${done} of ${total} tokens`),
      });
    } catch (error) {
      if (error instanceof RangeError) throw new InputError(`--text: ${error.message}`, { cause: error });
      throw error;
    } finally {
      line.end();
    }
    if (ids.length < ENOUGH_TOKENS) {
      say(`${ids.length} tokens are few: the means follow the text's subject. ${ENOUGH_TOKENS} and more are better.`);
    }
    const calibration = inMemory(means, fingerprint);
    const chosen =
      options.bits === undefined ? undefined : await chooseWidths(language, calibration, ids, options.bits, signal);
    const corpus = await sha256(texts.map((text) => new TextEncoder().encode(text)));
    const { tensors, metadata } = calibrationTensors({
      ...{ ...language.state, ...means, fingerprint, corpus },
      widths: chosen?.widths,
    });
    await writeFileAtomic(
      out,
      async (sink) => {
        await writeSafetensors(sink, tensors, metadata, { signal });
      },
      { signal },
    );
    const seconds = Number(((performance.now() - began) / 1000).toFixed(3));
    const { softmaxLayers: layers } = language.state;
    if (options.json) printJson({ model: options.model, out, tokens: ids.length, layers, fingerprint, seconds });
    else print(`${out}: ${layers} layers, ${ids.length} tokens`);
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
}

const inMemory = ({ tokens, layers }: KeyMeans, fingerprint: string): KvCalibration => ({
  fingerprint,
  tokens,
  layers: layers.map(({ meanAllKeys, meanKeys, meanValues }) => ({
    meanAllKeys,
    meanKeys: Float32Array.from(meanKeys),
    meanValues: Float32Array.from(meanValues),
    policy: undefined,
    widths: undefined,
  })),
});

/** Widths of the layers, with a line of progress. @throws {InputError} */
async function chooseWidths(
  language: LanguageModel,
  calibration: KvCalibration,
  ids: readonly number[],
  bits: number,
  signal: AbortSignal,
) {
  const line = progressLine("Widths");
  try {
    const chosen = await kvWidths(language, calibration, ids, {
      bits,
      signal,
      onProgress: (done, total) => line.update(done, total, `reading ${done} of ${total}`),
    });
    const list = (side: "keyBits" | "valueBits") => chosen.widths.map((w) => w[side]).join(" ");
    say(`keys ${list("keyBits")}, values ${list("valueBits")}: ${chosen.effectiveBits.toFixed(2)} effective bits`);
    return chosen;
  } catch (error) {
    if (error instanceof RangeError) throw new InputError(`--bits ${bits}: ${error.message}`, { cause: error });
    throw error;
  } finally {
    line.end();
  }
}
