/** `fulgur start`, which is `npm start`: a model, its page and its server, and a first question so that one sees it work. */
import type { Command } from "commander";
import { type ChatSource, modelSource, startServer } from "../../serve/index.js";
import { answerWriter, statistics } from "../answer-writer.js";
import { catchInterrupts } from "../interrupt.js";
import { addModelOptions, type ModelOptions, openModel } from "../model-options.js";
import { colors, print, say } from "../output.js";
import {
  addServingOptions,
  hasPage,
  pageFolders,
  pageUrl,
  reportFailure,
  type ServingFlags,
  serveUntilInterrupted,
} from "../serving.js";
import { startupTeller } from "../startup.js";

interface Flags extends ModelOptions, ServingFlags {
  readonly sample: boolean;
  readonly verbose?: true;
}

/** Ports to try when the one asked for is taken. */
const ports = 20;

const question = "What is 347 + 58?";

export function define(program: Command): void {
  const command = program
    .command("start")
    .description("Serve the model and its page, and answer a sample question in the terminal.");
  addModelOptions(addServingOptions(command, 3000))
    .option("--no-sample", "do not ask the sample question")
    .option("--verbose", "say where the time to the first token went")
    .addHelpText("after", "\nExamples:\n  $ npm start\n  $ npm start -- start --port 3100 --device cpu --no-sample")
    .action(start);
}

async function start(flags: Flags): Promise<void> {
  await using opened = await openModel(flags, { slots: flags.slots });
  const { model, device } = opened;
  using interrupts = catchInterrupts();
  const source = modelSource(model);
  const { modelName } = flags;
  await using server = await startServer({
    source,
    host: flags.host,
    port: flags.port,
    ports: flags.port === 0 ? 1 : ports,
    modelName,
    maxWaiting: flags.maxWaiting,
    corsOrigin: flags.cors,
    folders: pageFolders(flags.model),
    onFailure: reportFailure,
  });
  say(`${modelName ?? model.name} on ${device.label}\n`);
  if (hasPage()) print(`  Page       ${pageUrl(server.url, flags.model)}`);
  print(`  Interface  ${server.url}/v1\n`);
  if (flags.sample && model.template) {
    await answerSample(source, startupTeller(opened, flags.verbose === true), interrupts.signal);
  }
  if (!interrupts.signal.aborted) {
    const body = JSON.stringify({ messages: [{ role: "user", content: question }] });
    say(`Try it:\n\n  curl ${server.url}/v1/chat/completions -H 'content-type: application/json' -d '${body}'\n`);
    say(colors.dim("Serving until Ctrl-C."));
  }
  await serveUntilInterrupted(server, interrupts);
}

async function answerSample(source: ChatSource, onPart: () => void, signal: AbortSignal): Promise<void> {
  say(`${colors.bold("›")} ${question}`);
  const writer = answerWriter();
  try {
    for await (const part of source.chat([{ role: "user", content: question }], { signal })) {
      onPart();
      writer.write(part);
      if (part.kind !== "done") continue;
      writer.end();
      say(`${colors.dim(statistics(part))}\n`);
    }
  } catch (error) {
    writer.end();
    if (!signal.aborted) throw error;
  }
}
