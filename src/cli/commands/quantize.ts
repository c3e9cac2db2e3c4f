/** `fulgur quantize`: a smaller copy of a model folder. */
import { copyFile, mkdir, readdir, realpath, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { type Checkpoint, writeSafetensors } from "../../formats/index.js";
import { directoryFolder, openCheckpointDirectory, writeFileAtomic } from "../../formats/node/index.js";
import { familyOf, matrixPlaces, quantizedTensors } from "../../models/index.js";
import type { EncodedWeights } from "../../ops/index.js";
import { calibratedExperts, expertMoments } from "../../train/quantize/index.js";
import { readText } from "../eval/read-text.js";
import { catchInterrupts } from "../interrupt.js";
import { addDeviceOptions, type DeviceOptions, openModel } from "../model-options.js";
import { bytesText, InputError, print, printJson, progressLine, UsageError } from "../output.js";

const kinds = ["f32", "f16", "bf16", "int8", "int4"] as const;

interface Options extends DeviceOptions {
  readonly model: string;
  readonly out: string;
  readonly experts: (typeof kinds)[number];
  readonly rest: (typeof kinds)[number];
  readonly group: "32" | "64" | "128";
  readonly calibrate?: readonly string[];
  readonly int8?: readonly string[];
  readonly json?: boolean;
}

export function define(program: Command): void {
  const command = program
    .command("quantize")
    .description("write a copy of a model folder with its matrices in int8 or int4")
    .requiredOption("--model <dir>", "model folder to read")
    .requiredOption("--out <dir>", "folder to write; made if absent")
    .addOption(new Option("--experts <kind>", "matrices of experts").choices(kinds).default("int4"))
    .addOption(new Option("--rest <kind>", "all other matrices").choices(kinds).default("int8"))
    .addOption(new Option("--group <n>", "columns that share an int4 scale").choices(["32", "64", "128"]).default("32"))
    .option(
      "--calibrate <file>",
      "round int4 experts by what this text shows to matter (plain or .gz; may be given several times)",
      (file: string, before: readonly string[] = []) => [...before, file],
    )
    .option("--int8 <matrices>", "matrices to hold in int8 all the same, with commas between", placeList)
    .option("--json", "one JSON object on standard output");
  addDeviceOptions(command)
    .addHelpText(
      "after",
      "\nRouters, norms and biases keep their type. The tokenizer and the configs are copied.\nCalibration runs the model over the text on the device, then takes a minute or more for each 10 million parameters.\n\nWith calibration: --calibrate books.txt, and --int8 layers.0.moe.down for what suffers most.\n\nExamples:\n  $ npm start --silent -- quantize --model test/fixtures/models/qwen3_moe --out /tmp/qwen3-small\n  $ npm start --silent -- quantize --model test/fixtures/models/mistral_window64 --out /tmp/mistral-int4 --rest int4 --group 64",
    )
    .action(quantize);
}

const realFolder = (path: string): Promise<string> => realpath(path).catch(() => resolve(path));

function placeList(text: string): readonly string[] {
  const places = text.split(",").map((place) => place.trim());
  if (places.includes(""))
    throw new InvalidArgumentError("expected names such as layers.0.moe.down, with commas between.");
  return places;
}

async function quantize(options: Options): Promise<void> {
  // Links followed: writing through one would replace the very weights that are being read.
  if ((await realFolder(options.model)) === (await realFolder(options.out)))
    throw new UsageError("--out must be another folder than --model");
  if (options.calibrate && options.experts !== "int4") throw new UsageError("--calibrate rounds experts in int4 only");
  const folder = directoryFolder(options.model);
  const json = await folder.readJson("config.json");
  const source = `${options.model}/config.json`;
  await using checkpoint = await openCheckpointDirectory(options.model);
  const tree = familyOf(json, source).weights(json, source, (name) => checkpoint.entries.get(name)?.shape);
  const int8 = new Set(options.int8 ?? []);
  const known = new Set(matrixPlaces(checkpoint, tree).map(({ path }) => path));
  const unknown = [...int8].filter((place) => !known.has(place));
  if (unknown.length > 0) {
    throw new UsageError(`--int8: there is no matrix ${unknown.join(", ")}; there are ${[...known].join(", ")}`);
  }

  using interrupts = catchInterrupts();
  const { signal } = interrupts;
  const began = performance.now();
  const file = join(options.out, "model.safetensors");
  let tensors: ReturnType<typeof quantizedTensors>;
  let calibrationTokens = 0;
  try {
    let encoded: ReadonlyMap<string, EncodedWeights> | undefined;
    if (options.calibrate) {
      const texts = await Promise.all(options.calibrate.map((name) => readText(name, "--calibrate")));
      ({ encoded, tokens: calibrationTokens } = await calibrated(options, checkpoint, tree, texts, int8, signal));
    }
    tensors = quantizedTensors(checkpoint, tree, {
      experts: options.experts,
      rest: options.rest,
      group: Number(options.group),
      int8,
      ...(encoded ? { encoded } : {}),
    });
    await mkdir(options.out, { recursive: true }).catch((cause: unknown) => {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new InputError(`--out ${options.out}: the folder could not be made: ${reason}`, { cause });
    });
    const metadata = {
      format: "pt",
      fulgur_experts: options.experts,
      fulgur_rest: options.rest,
      fulgur_group: options.group,
      ...(int8.size > 0 ? { fulgur_int8: [...int8].join(",") } : {}),
      ...(encoded ? { fulgur_calibration_tokens: String(calibrationTokens) } : {}),
    };
    await write(file, tensors, metadata, signal);
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
  // What belongs to the model beside its weights; goldens are those of the unquantised weights and stay behind.
  const companions = (await readdir(options.model)).filter((name) =>
    /^(generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json$|^kv-calibration\.safetensors$|^chat_template\.jinja$|^LICENSE/.test(
      name,
    ),
  );
  for (const name of companions) await copyFile(join(options.model, name), join(options.out, name));
  const quantization = {
    quant_method: "fulgur",
    experts: options.experts,
    rest: options.rest,
    group_size: Number(options.group),
    ...(int8.size > 0 ? { int8: [...int8] } : {}),
    ...(calibrationTokens > 0 ? { calibration_tokens: calibrationTokens } : {}),
  };
  const config = { ...(json as object), quantization_config: quantization };
  await writeFile(join(options.out, "config.json"), `${JSON.stringify(config, null, 1)}\n`);

  const bytesAfter = (await stat(file)).size;
  if (options.json) {
    printJson({
      model: options.model,
      out: options.out,
      tensors: tensors.length,
      bytesBefore: checkpoint.totalBytes,
      bytesAfter,
      calibrationTokens,
      seconds: Number(((performance.now() - began) / 1000).toFixed(3)),
    });
  } else {
    print(`${file}: ${bytesText(bytesAfter)} (before: ${bytesText(checkpoint.totalBytes)}), ${tensors.length} tensors`);
  }
}

async function calibrated(
  options: Options,
  checkpoint: Checkpoint,
  tree: object,
  texts: readonly string[],
  skip: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<{ readonly encoded: ReadonlyMap<string, EncodedWeights>; readonly tokens: number }> {
  const group = Number(options.group);
  const read = progressLine("Calibrating");
  let moments: Awaited<ReturnType<typeof expertMoments>>;
  let tokens = 0;
  try {
    await using opened = await openModel({ ...options, kv: "f32", precision: "f32" }, { slots: 1, signal });
    const { language, tokenizer } = opened.model;
    const ids = texts.flatMap((text) => tokenizer.encode(text));
    tokens = ids.length;
    moments = await expertMoments(language, ids, {
      signal,
      onProgress: (done, total) => read.update(done, total, `${done} of ${total} tokens`),
    });
  } finally {
    read.end();
  }
  if (moments.size === 0) throw new UsageError("--calibrate rounds experts; this model has none");
  const line = progressLine("Rounding");
  try {
    const onProgress = (done: number, total: number, place: string) => line.update(done, total, place);
    return { encoded: await calibratedExperts(checkpoint, tree, moments, { group, skip, signal, onProgress }), tokens };
  } finally {
    line.end();
  }
}

async function write(
  file: string,
  tensors: ReturnType<typeof quantizedTensors>,
  metadata: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<void> {
  const line = progressLine("Quantising");
  try {
    let done = 0;
    const counted = tensors.map((tensor) => ({
      ...tensor,
      bytes: async () => {
        done += 1;
        line.update(done, tensors.length, tensor.name);
        return tensor.bytes();
      },
    }));
    const store: Parameters<typeof writeFileAtomic>[1] = async (sink) => {
      await writeSafetensors(sink, counted, metadata, { signal });
    };
    await writeFileAtomic(file, store, { signal });
  } finally {
    line.end();
  }
}
