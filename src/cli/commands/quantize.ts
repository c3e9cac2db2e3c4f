/** `fulgur quantize`: a smaller copy of a model folder. */
import { copyFile, mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Command, Option } from "commander";
import { writeSafetensors } from "../../formats/index.js";
import { directoryFolder, openCheckpointDirectory, writeFileAtomic } from "../../formats/node/index.js";
import { familyOf, quantizedTensors } from "../../models/index.js";
import { bytesText, print, printJson, progressLine, UsageError } from "../output.js";

const kinds = ["f32", "f16", "bf16", "int8", "int4"] as const;

interface Options {
  readonly model: string;
  readonly out: string;
  readonly experts: (typeof kinds)[number];
  readonly rest: (typeof kinds)[number];
  readonly group: "32" | "64" | "128";
  readonly json?: boolean;
}

export function define(program: Command): void {
  program
    .command("quantize")
    .description("write a copy of a model folder with its matrices in int8 or int4 (plain rounding)")
    .requiredOption("--model <dir>", "model folder to read")
    .requiredOption("--out <dir>", "folder to write; made if absent")
    .addOption(new Option("--experts <kind>", "matrices of experts").choices(kinds).default("int4"))
    .addOption(new Option("--rest <kind>", "all other matrices").choices(kinds).default("int8"))
    .addOption(new Option("--group <n>", "columns that share an int4 scale").choices(["32", "64", "128"]).default("32"))
    .option("--json", "one JSON object on standard output")
    .addHelpText(
      "after",
      "\nRouters, norms and biases keep their type. The tokenizer and the configs are copied.\n\nExamples:\n  $ fulgur quantize --model ./fulgur-mini-f16 --out ./fulgur-mini\n  $ fulgur quantize --model ./llama --out ./llama-int4 --rest int4 --group 64",
    )
    .action(quantize);
}

async function quantize(options: Options): Promise<void> {
  if (resolve(options.model) === resolve(options.out))
    throw new UsageError("--out must be another folder than --model");
  const folder = directoryFolder(options.model);
  const json = await folder.readJson("config.json");
  const source = `${options.model}/config.json`;
  await using checkpoint = await openCheckpointDirectory(options.model);
  const tree = familyOf(json, source).weights(json, source, (name) => checkpoint.entries.get(name)?.shape);
  const tensors = quantizedTensors(checkpoint, tree, {
    experts: options.experts,
    rest: options.rest,
    group: Number(options.group),
  });

  await mkdir(options.out, { recursive: true });
  const interrupt = new AbortController();
  const onInterrupt = () => interrupt.abort();
  process.once("SIGINT", onInterrupt);
  const line = progressLine("Quantising");
  const file = join(options.out, "model.safetensors");
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
    const metadata = {
      format: "pt",
      fulgur_experts: options.experts,
      fulgur_rest: options.rest,
      fulgur_group: options.group,
    };
    await writeFileAtomic(
      file,
      async (sink) => {
        await writeSafetensors(sink, counted, metadata, { signal: interrupt.signal });
      },
      { signal: interrupt.signal },
    );
  } finally {
    line.end();
    process.off("SIGINT", onInterrupt);
  }
  // What belongs to the model beside its weights; goldens are those of the unquantised weights and stay behind.
  const companions = (await readdir(options.model)).filter((name) =>
    /^(generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json$|^chat_template\.jinja$|^LICENSE/.test(
      name,
    ),
  );
  for (const name of companions) await copyFile(join(options.model, name), join(options.out, name));
  const quantization = {
    quant_method: "fulgur",
    experts: options.experts,
    rest: options.rest,
    group_size: Number(options.group),
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
    });
  } else {
    print(`${file}: ${bytesText(bytesAfter)} (before: ${bytesText(checkpoint.totalBytes)}), ${tensors.length} tensors`);
  }
}
