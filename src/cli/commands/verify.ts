/** `fulgur verify DIR`: a checkpoint folder against the golden beside it. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import type { Device } from "../../device/index.js";
import { directoryFolder } from "../../formats/node/index.js";
import { addDeviceOptions, type DeviceOptions, openDevice } from "../model-options.js";
import { InputError, print, printJson } from "../output.js";
import { checkGradients } from "../verify/check-gradients.js";
import type { Check } from "../verify/compare.js";
import { readGolden } from "../verify/goldens-file.js";
import { verifyModel } from "../verify/verify-model.js";

export function define(program: Command): void {
  const command = program
    .command("verify")
    .description("compare a model folder with its golden.json: logits, hidden states, greedy continuation")
    .argument("<dir>", "folder with config.json, weights, golden.json and golden.safetensors")
    .option("--config <file>", "name of the config in the folder", "config.json")
    .option("--gradients", "compare the gradients of the mean cross-entropy instead")
    .option("--json", "one JSON line on standard output");
  addDeviceOptions(command)
    .addHelpText(
      "after",
      "\nExit code 0: everything matches; 1: something does not.\n\nExamples:\n  $ npm start --silent -- verify test/fixtures/models/mistral_window64\n  $ npm start --silent -- verify test/fixtures/models/qwen3_moe --device cpu --json\n  $ npm start --silent -- verify test/fixtures/models/qwen2_bias_tied --gradients --device cpu",
    )
    .action(verify);
}

async function verify(
  dir: string,
  options: DeviceOptions & { config: string; gradients?: true; json?: boolean },
): Promise<void> {
  for (const file of [options.config, "golden.json", "golden.safetensors"]) {
    if (!existsSync(join(dir, file))) throw new InputError(`${join(dir, file)}: there is no such file`);
  }
  await using device = await openDevice(options);
  const folder = directoryFolder(dir);
  if (options.gradients) {
    const checks = await checkGradients(device, folder, await readGolden(folder), options.config);
    report(dir, device, checks, options.json, { folder: folder.name });
    return;
  }
  const { checks, passed: _, ...summary } = await verifyModel(device, folder, options.config);
  report(dir, device, checks, options.json, summary);
}

function report(
  dir: string,
  device: Device,
  checks: readonly Check[],
  json: boolean | undefined,
  summary: object,
): void {
  const passed = checks.every((check) => check.passed);
  if (json) {
    const failed = checks.filter((check) => !check.passed);
    printJson({ ...summary, passed, device: device.label, checks: checks.length, failed });
  } else {
    for (const check of checks) print(`${check.passed ? "ok  " : "FAIL"}  ${check.name}: ${check.detail}`);
    print(`${passed ? "matches" : "does NOT match"}: ${dir} on ${device.label}`);
  }
  if (!passed) process.exitCode = 1;
}
