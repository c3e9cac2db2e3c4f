/** `fulgur goldens DIR`: every folder of reference values below DIR, one line a case. */
import { existsSync, statSync } from "node:fs";
import type { Command } from "commander";
import { addDeviceOptions, type DeviceOptions, openDevice } from "../model-options.js";
import { InputError, print, say } from "../output.js";
import { checkFolder } from "../verify/check-folder.js";

export function define(program: Command): void {
  const command = program
    .command("goldens")
    .description("check all reference values below a folder: model folders, operations, chat templates, tokenizers")
    .argument("<dir>", "folder of reference values");
  addDeviceOptions(command)
    .option("--only <text>", "only folders whose path contains this")
    .addHelpText(
      "after",
      "\nUnknown folders print `skipped`. The last line is `N passed, M failed`; exit code 1 on any failure.\n\nExamples:\n  $ npm run --silent goldens -- test/fixtures/models\n  $ npm run --silent goldens -- test/fixtures/models --device webgpu",
    )
    .action(goldens);
}

async function goldens(dir: string, options: DeviceOptions & { only?: string }): Promise<void> {
  if (!existsSync(dir) || !statSync(dir).isDirectory()) throw new InputError(`${dir}: there is no such folder`);
  await using device = await openDevice(options);
  say(`device: ${device.label}`);
  const count = { passed: 0, failed: 0, skipped: 0 };
  for await (const { folder, name, passed, detail, skipped } of checkFolder(device, dir, options.only)) {
    const state = skipped ? "skipped" : passed ? "ok" : "FAIL";
    count[skipped ? "skipped" : passed ? "passed" : "failed"] += 1;
    print(`${state.padEnd(7)} ${folder}  ${name}${detail ? `: ${detail}` : ""}`);
  }
  if (count.skipped > 0) say(`${count.skipped} skipped`);
  print(`${count.passed} passed, ${count.failed} failed`);
  if (count.failed > 0) process.exitCode = 1;
}
