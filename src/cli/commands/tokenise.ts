/** `fulgur tokenise`: training texts and drawn exercises into shards, ahead of a run. */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import { type Folder, openFolder, parseJson } from "../../formats/index.js";
import { writeFileAtomic } from "../../formats/node/index.js";
import { chatTemplateFromConfig, createTokenizer } from "../../text/index.js";
import { drawShard, openSources } from "../../train/data/index.js";
import { shardEnding } from "../../train/node/shards/index.js";
import { catchInterrupts } from "../interrupt.js";
import { defaultModel, wholeNumber } from "../model-options.js";
import { InputError, printJson, progressLine, say, UsageError } from "../output.js";

interface Options {
  readonly model: string;
  readonly data?: string;
  readonly out: string;
  readonly draw: number;
  readonly sequence: number;
  readonly seed: string;
}

export function define(program: Command): void {
  program
    .command("tokenise")
    .description("Turn training texts into shards; also draw exercises ahead of a run.")
    .argument("[file...]", "texts (.txt, .jsonl, also .gz) or folders of them")
    .option("--model <dir>", "folder with the tokenizer", defaultModel)
    .option("--data <file>", 'JSON file with the "data" section of a training run, instead of files')
    .option("--out <dir>", "folder for the shards", ".fulgur/shards")
    .option("--draw <n>", "write n documents of each source that draws (exercises, retrieval)", wholeNumber(1), 0)
    .option("--sequence <tokens>", "longest drawn document", wholeNumber(8), 1024)
    .option("--seed <text>", "seed of what is drawn", "0")
    .addHelpText(
      "after",
      "\nPrints the data section with every source as shards. Texts that have a shard are not read again.\n\nExamples:\n  $ npm start --silent -- tokenise README.md CONTRIBUTING.md --out /tmp/shards\n  $ npm start --silent -- tokenise --data examples/train-data.json --draw 200 --out /tmp/shards",
    )
    .action(tokenise);
}

async function tokenise(files: readonly string[], options: Options): Promise<void> {
  const { out, draw, sequence, seed } = options;
  if (files.length > 0 === (options.data !== undefined)) {
    throw new UsageError("tokenise: expected either files or --data");
  }
  using interrupts = catchInterrupts();
  const { signal } = interrupts;
  const section = options.data === undefined ? { sources: [{ files }] } : await readSection(options.data);
  const folder = await openFolder(options.model);
  const { tokenizer, template } = await textOf(folder).finally(() => folder.close());
  let line: { readonly file: string; readonly shown: ReturnType<typeof progressLine> } | undefined;
  const onProgress = (file: string, done: number, total: number): void => {
    if (line?.file !== file) {
      line?.shown.end();
      line = { file, shown: progressLine(`Tokenising ${file}`) };
    }
    line.shown.update(done, total);
  };
  try {
    const opened = await openSources(section, tokenizer, { sequence, seed, template, shards: out, onProgress, signal });
    line?.shown.end();
    try {
      const sources: { files: string[]; weight: number }[] = [];
      for (const [i, { source, weight, shards }] of opened.sources.entries()) {
        for (const { name, totals } of shards) say(totalsText(name, totals));
        if (shards.length > 0) {
          sources.push({ files: shards.map(({ name }) => name), weight });
          continue;
        }
        if (draw === 0) throw new UsageError(`${source.name} draws without end: say how many documents with --draw`);
        await mkdir(out, { recursive: true });
        const path = join(out, `drawn-${i}-${seed}${shardEnding}`);
        const { vocabSize } = tokenizer;
        const header = {
          idBytes: vocabSize <= 2 ** 16 ? 2 : 4,
          vocabSize,
          fingerprint: opened.fingerprint.slice(0, 32),
        } as const;
        const shown = progressLine(`Drawing ${source.name}`);
        await writeFileAtomic(path, async (sink) => {
          const totals = await drawShard(source, draw, sink, header, {
            signal,
            onProgress: (done) => shown.update(done, draw),
          });
          shown.end();
          say(totalsText(path, totals));
        });
        sources.push({ files: [path], weight });
      }
      for (const note of opened.notes) say(note);
      printJson({ sources });
    } finally {
      await opened.close();
    }
  } catch (error) {
    line?.shown.end();
    throw signal.aborted ? signal.reason : error;
  }
}

const totalsText = (name: string, { documents, ids, counted }: { documents: number; ids: number; counted: number }) =>
  `${name}: ${documents} documents, ${ids} tokens, ${counted} of them with loss`;

/** The tokenizer and the template as a training run reads them: shards belong to both. */
async function textOf(folder: Folder) {
  const config: unknown = (await folder.has("tokenizer_config.json"))
    ? await folder.readJson("tokenizer_config.json")
    : {};
  const tokenizer = createTokenizer(await folder.readJson("tokenizer.json"), config);
  const own = (await folder.has("chat_template.jinja")) ? await folder.readText("chat_template.jinja") : undefined;
  const settings = typeof config === "object" && config !== null ? config : {};
  const template = chatTemplateFromConfig(own === undefined ? config : { ...settings, chat_template: own });
  return { tokenizer, template };
}

/** The section by itself, or a whole configuration that has one. */
async function readSection(file: string): Promise<unknown> {
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new InputError(`--data ${file}: could not be read`, { cause });
  });
  const value = parseJson(text, { file });
  return typeof value === "object" && value !== null && "data" in value ? value.data : value;
}
