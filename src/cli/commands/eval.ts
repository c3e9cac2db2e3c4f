/** `fulgur eval`: measuring a model; one subcommand each in `cli/eval/`. */
import type { Command } from "commander";
import { definePerplexity } from "../eval/perplexity.js";
import { defineRecall } from "../eval/recall.js";
import { defineTasks } from "../eval/tasks.js";

export function define(program: Command): void {
  const command = program
    .command("eval")
    .description("Measure a model: perplexity of texts, accuracy on exercises, recall over distance.")
    .addHelpText(
      "after",
      "\nExamples:\n  $ npm start --silent -- eval perplexity --text README.md --context 512\n  $ npm start --silent -- eval tasks --family add,sum --problems 6",
    );
  definePerplexity(command);
  defineTasks(command);
  defineRecall(command);
}
