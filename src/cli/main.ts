#!/usr/bin/env node
/** The command line. Each command is one file in `commands/`, loaded when it is called. The only place that exits the process. */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { InterruptedError, say, UsageError } from "./output.js";

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  version: string;
};

const commands = {
  start: () => import("./commands/start.js"),
  chat: () => import("./commands/chat.js"),
  generate: () => import("./commands/generate.js"),
  serve: () => import("./commands/serve.js"),
  eval: () => import("./commands/eval.js"),
  calibrate: () => import("./commands/calibrate.js"),
  quantize: () => import("./commands/quantize.js"),
  train: () => import("./commands/train.js"),
  tokenise: () => import("./commands/tokenise.js"),
  verify: () => import("./commands/verify.js"),
  goldens: () => import("./commands/goldens.js"),
  bench: () => import("./commands/bench.js"),
} as const;

/** What a command file exports. */
export interface CommandModule {
  define(program: Command): void;
}

async function run(argv: readonly string[]): Promise<void> {
  const program = new Command("fulgur")
    .description("Runs and trains long-context models in TypeScript, on WebGPU and on the CPU.")
    .version(version)
    .option("--debug", "show stack traces")
    .showHelpAfterError("(add --help for the options)")
    .enablePositionalOptions()
    .exitOverride()
    .addHelpText("after", '\nExamples:\n  $ npm start\n  $ npm start --silent -- generate "What is 347 + 58?"');
  const named = argv.find((arg) => Object.hasOwn(commands, arg));
  // Only the command that is called is loaded; help lists them all.
  const wanted = named ? [named as keyof typeof commands] : (Object.keys(commands) as (keyof typeof commands)[]);
  for (const name of wanted) {
    const module: CommandModule = await commands[name]();
    module.define(program);
  }
  // Options of the parent's error handling do not reach subcommands by themselves.
  for (const sub of allCommands(program)) sub.exitOverride().showHelpAfterError("(add --help for the options)");
  await program.parseAsync(argv, { from: "user" });
}

function* allCommands(command: Command): Generator<Command> {
  for (const sub of command.commands) {
    yield sub;
    yield* allCommands(sub);
  }
}

function exitCode(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof UsageError) return 2;
  if (error instanceof InterruptedError || (error instanceof Error && error.name === "AbortError")) return 130;
  return 1;
}

// A reader that has seen enough (`fulgur … | head`) is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(process.exitCode ?? 0);
});

const argv = process.argv.slice(2);
// May stand anywhere on the line.
const debug = argv.includes("--debug");
try {
  await run(argv.filter((arg) => arg !== "--debug"));
} catch (error) {
  const code = exitCode(error);
  // Commander has said its own errors already.
  if (!(error instanceof CommanderError) && code !== 130) {
    const shown = error instanceof Error ? error : new Error(String(error));
    say(`fulgur: ${shown.message}`);
    if (debug && shown.stack) say(shown.stack);
  }
  process.exitCode = code;
}
