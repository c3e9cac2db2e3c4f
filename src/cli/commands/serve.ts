/** `fulgur serve`: the OpenAI-compatible server. */
import type { Command } from "commander";
import { modelSource, startServer } from "../../serve/index.js";
import { catchInterrupts } from "../interrupt.js";
import { addModelOptions, type ModelOptions, openModel } from "../model-options.js";
import { print, say, UsageError } from "../output.js";
import { addServingOptions, pageFolders, reportFailure, type ServingFlags, serveUntilInterrupted } from "../serving.js";

type Flags = ModelOptions & ServingFlags;

export function define(program: Command): void {
  const command = program
    .command("serve")
    .description("Serve a model over HTTP, compatible with OpenAI's chat completions.");
  addModelOptions(addServingOptions(command, 8080))
    .addHelpText(
      "after",
      "\nExamples:\n  $ npm start -- serve --port 8080\n  $ npm start -- serve --port 8081 --device cpu --slots 8 --model-name mini",
    )
    .action(serve);
}

async function serve(flags: Flags): Promise<void> {
  await using opened = await openModel(flags, { slots: flags.slots });
  const { model, device } = opened;
  if (!model.template) throw new UsageError(`${model.name} has no chat template: it cannot be served as a chat model`);
  using interrupts = catchInterrupts();
  await using server = await startServer({
    source: modelSource(model),
    host: flags.host,
    port: flags.port,
    modelName: flags.modelName,
    maxWaiting: flags.maxWaiting,
    corsOrigin: flags.cors,
    folders: pageFolders(flags.model),
    onFailure: reportFailure,
  });
  say(`Serving ${flags.modelName ?? model.name} on ${device.label}; Ctrl-C stops.`);
  print(`${server.url}/v1`);
  await serveUntilInterrupted(server, interrupts);
}
