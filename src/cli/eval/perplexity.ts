/** `fulgur eval perplexity`: how well a model foretells texts. */
import { basename } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { openFolder } from "../../formats/index.js";
import type { Model } from "../../generate/index.js";
import { type NllSum, perplexity, summary } from "../../train/evaluate/index.js";
import { catchInterrupts } from "../interrupt.js";
import { addModelOptions, type ModelOptions, openModel, wholeNumber } from "../model-options.js";
import { print, printJson, progressLine, table } from "../output.js";
import { readText } from "./read-text.js";

interface Flags extends ModelOptions {
  readonly text: readonly string[];
  readonly context: number;
  readonly chunk?: number;
  readonly bos?: boolean;
  readonly limit?: number;
  readonly json?: true;
}

/** What these keep does not depend on how a text is cut. */
const exactCaches: ReadonlySet<string> = new Set(["f32", "f16", "bf16"]);

export function definePerplexity(parent: Command): void {
  const command = parent
    .command("perplexity")
    .description("Perplexity of text files: windows of context + 1 tokens, every prediction counted once.")
    .requiredOption("--text <file>", "text file, plain or .gz; may be given several times", collect)
    .option("--context <n>", "predictions of a window", wholeNumber(1), 2048)
    .option("--limit <tokens>", "predict about so many tokens of each text only (whole windows)", wholeNumber(1))
    .option(
      "--chunk <n>",
      "tokens of a window read at a time, which see each other exactly and the rest as the cache keeps it (default: 32 with quantised caches, else as many as fit)",
      wholeNumber(1),
    )
    .option("--bos", "begin each text with the model's start token; otherwise nothing is prepended")
    .option("--json", "print one JSON object a text, and one for all of them");
  addModelOptions(command)
    .addHelpText(
      "after",
      "\nExamples:\n  $ npm start --silent -- eval perplexity --text README.md --context 512\n  $ npm start --silent -- eval perplexity --text LICENSE --text README.md --context 256 --limit 1024 --json",
    )
    .action(run);
}

function collect(file: string, before: readonly string[] = []): readonly string[] {
  if (file === "") throw new InvalidArgumentError("expected a file's name.");
  return [...before, file];
}

async function run(flags: Flags): Promise<void> {
  const texts = await Promise.all(flags.text.map((file) => readText(file, "--text")));
  using interrupts = catchInterrupts();
  const { signal } = interrupts;
  try {
    await using opened = await openModel(flags, { slots: 1, signal });
    const { model, device } = opened;
    const startIds = flags.bos ? await startOf(model, flags.model) : [];
    const chunk = flags.chunk ?? (exactCaches.has(flags.kv) ? undefined : 32);
    const rows = [["text", "tokens", "bytes/token", "nll", "perplexity", "bits/byte"]];
    const show = (text: string, seconds: number, ...sums: readonly NllSum[]) => {
      const result = summary(...sums);
      if (flags.json) {
        printJson({
          ...result,
          context: flags.context,
          ...(chunk === undefined ? {} : { chunk }),
          text,
          model: model.name,
          kv: flags.kv,
          device: device.label,
          seconds: Number(seconds.toFixed(3)),
        });
        return;
      }
      const { tokens, bytes, nllPerToken, bitsPerByte } = result;
      rows.push([
        text,
        String(tokens),
        (bytes / tokens).toFixed(2),
        nllPerToken.toFixed(4),
        result.perplexity.toFixed(2),
        bitsPerByte.toFixed(4),
      ]);
    };
    const began = performance.now();
    const sums: NllSum[] = [];
    for (const [i, text] of texts.entries()) {
      const name = basename(flags.text[i] as string); // one text a file
      const textBegan = performance.now();
      const line = progressLine(name);
      try {
        const sum = await perplexity(model, text, {
          context: flags.context,
          kv: flags.kv,
          limit: flags.limit,
          chunk,
          startIds,
          signal,
          onProgress: ({ done, total, nllPerToken }) =>
            line.update(done, total, `${done} of ${total} tokens, nll ${nllPerToken.toFixed(4)}`),
        });
        sums.push(sum);
        line.end();
        show(name, (performance.now() - textBegan) / 1000, sum);
      } catch (error) {
        line.end();
        if (error instanceof RangeError) error.message = `${name}: ${error.message}`;
        throw error;
      }
    }
    if (sums.length > 1) show("total", (performance.now() - began) / 1000, ...sums);
    if (!flags.json) {
      print(table(rows));
      print(`\n${model.name}, context ${flags.context}, cache ${flags.kv}, on ${device.label}`);
    }
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
}

/** Texts begin with the config's start token where the tokenizer adds none by itself, as in training. */
async function startOf(model: Model, where: string): Promise<readonly number[] | undefined> {
  if (model.tokenizer.encode("", { addSpecialTokens: true }).length > 0) return undefined;
  const folder = await openFolder(where);
  try {
    const config: unknown = await folder.readJson("config.json");
    if (typeof config !== "object" || config === null || !("bos_token_id" in config)) return [];
    const { bos_token_id: id } = config;
    return typeof id === "number" && id >= 0 && id < model.language.vocabSize ? [id] : [];
  } finally {
    await folder.close();
  }
}
