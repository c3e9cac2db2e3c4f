/** What `serve` and `start` share: options, the folders of the page, and running until an interrupt. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import type { RunningServer, StaticFolder } from "../serve/index.js";
import type { Interrupts } from "./interrupt.js";
import { defaultModel, packageRoot, wholeNumber } from "./model-options.js";
import { InterruptedError, say } from "./output.js";

export interface ServingFlags {
  readonly port: number;
  readonly host: string;
  readonly modelName?: string;
  readonly slots: number;
  readonly maxWaiting: number;
  readonly cors?: string;
}

/** Streams get this long to end when the server is asked to stop (SIGTERM); Ctrl-C does not wait. */
const graceMs = 10_000;

export function addServingOptions(command: Command, port: number): Command {
  return command
    .option("--port <n>", "port to listen on; 0: any free one", wholeNumber(0, 65535), port)
    .option("--host <address>", "address to listen on; 0.0.0.0 lets other machines in", "127.0.0.1")
    .option("--model-name <name>", "name of the model for clients (default: its folder's)")
    .option("--slots <n>", "requests that are answered at a time, in one batch", wholeNumber(1, 256), 4)
    .option("--max-waiting <n>", "requests that may wait; more are refused", wholeNumber(0), 64)
    .option("--cors <origin>", "let pages of this origin call, such as https://example.org; * lets all", originText);
}

function originText(text: string): string {
  if (text === "*") return text;
  try {
    const { origin } = new URL(text);
    if (origin !== "null" && origin === text.replace(/\/$/, "")) return origin;
  } catch {
    // not a URL: said below
  }
  throw new InvalidArgumentError("expected * or an origin such as https://example.org.");
}

/** The page's build and the model files that it loads: the shipped ones, and the folder that is being served. */
export function pageFolders(modelDir: string): readonly StaticFolder[] {
  return [
    { at: servedModelPath, folder: resolve(modelDir) },
    { at: "/models/", folder: join(packageRoot, "models") },
    { at: "/", folder: join(packageRoot, "dist", "web") },
  ];
}

const servedModelPath = "/models/served/";

/** Where the page finds the model that is being served. */
export function pageUrl(serverUrl: string, modelDir: string): string {
  return resolve(modelDir) === resolve(defaultModel) ? `${serverUrl}/` : `${serverUrl}/?model=${servedModelPath}`;
}

/** Whether the page was built. */
export function hasPage(): boolean {
  return existsSync(join(packageRoot, "dist", "web", "index.html"));
}

/** Told of failures that are not a client's fault. */
export function reportFailure(error: unknown): void {
  say(`fulgur: a request failed: ${error instanceof Error ? error.message : String(error)}`);
  if (process.argv.includes("--debug") && error instanceof Error && error.stack) say(error.stack);
}

/**
 * Serves until an interrupt, then closes the server.
 *
 * @throws {InterruptedError} it was Ctrl-C.
 */
export async function serveUntilInterrupted(server: RunningServer, interrupts: Interrupts): Promise<void> {
  const name = await interrupts.first;
  await server.close(name === "SIGTERM" ? graceMs : 0);
  if (name === "SIGINT") throw new InterruptedError();
}
