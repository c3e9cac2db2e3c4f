/** `fulgur train`: from a configuration file to a model folder. The work is in `cli/train/`. */
import type { Command } from "commander";
import { addDeviceOptions, wholeNumber } from "../model-options.js";
import { type TrainFlags, train } from "../train/train.js";

export function define(program: Command): void {
  const command = program
    .command("train")
    .description("Train a model: fine-tune a folder, or begin from scratch.")
    .argument("<config>", "JSON file: model, data, steps, batch, optimiser … (docs/training.md)")
    .option("--out <dir>", "folder of checkpoints, metrics and report (default: the file's `out`)")
    .option("--resume", "go on where the newest checkpoint in that folder stands")
    .option("--steps <n>", "in the place of the file's `steps`", wholeNumber(1))
    .option("--json", "one JSON object on standard output at the end");
  addDeviceOptions(command)
    .addHelpText(
      "after",
      "\nCtrl-C finishes the step and saves. Paths in the file are relative to the current folder.\n\nExamples:\n  $ npm start --silent -- train examples/train/parity.json --steps 20 --out /tmp/parity\n  $ npm start --silent -- train examples/train/parity.json --steps 40 --out /tmp/parity --resume",
    )
    .action((config: string, flags: TrainFlags) => train(config, flags));
}
