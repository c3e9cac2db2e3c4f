/** `fulgur verify DIR`: a checkpoint folder against the golden beside it. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { directoryFolder } from "../../formats/node/index.js";
import { addDeviceOptions, type DeviceOptions, openDevice } from "../model-options.js";
import { InputError, print, printJson } from "../output.js";
import { verifyModel } from "../verify/verify-model.js";

export function define(program: Command): void {
  const command = program
    .command("verify")
    .description("compare a model folder with its golden.json: logits, hidden states, greedy continuation")
    .argument("<dir>", "folder with config.json, weights, golden.json and golden.safetensors")
    .option("--config <file>", "name of the config in the folder", "config.json")
    .option("--json", "one JSON line on standard output");
  addDeviceOptions(command)
    .addHelpText(
      "after",
      "\nExit code 0: everything matches; 1: something does not.\n\nExamples:\n  $ npm start --silent -- verify test/fixtures/models/mistral_window64\n  $ npm start --silent -- verify test/fixtures/models/qwen3_moe --device cpu --json",
    )
    .action(verify);
}

async function verify(dir: string, options: DeviceOptions & { config: string; json?: boolean }): Promise<void> {
  for (const file of [options.config, "golden.json", "golden.safetensors"]) {
    if (!existsSync(join(dir, file))) throw new InputError(`${join(dir, file)}: there is no such file`);
  }
  await using device = await openDevice(options);
  const result = await verifyModel(device, directoryFolder(dir), options.config);
  if (options.json) {
    const { checks, ...summary } = result;
    printJson({ ...summary, device: device.label, checks: checks.length, failed: checks.filter((c) => !c.passed) });
  } else {
    for (const { name, passed, detail } of result.checks) print(`${passed ? "ok  " : "FAIL"}  ${name}: ${detail}`);
    print(`${result.passed ? "matches" : "does NOT match"}: ${dir} on ${device.label}`);
  }
  if (!result.passed) process.exitCode = 1;
}
