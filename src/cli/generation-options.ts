/** Options of the commands that generate text. */
import { type Command, InvalidArgumentError } from "commander";
import type { ChatOptions } from "../generate/index.js";
import { given } from "../serve/given.js";
import { decimal, wholeNumber } from "./model-options.js";

export interface GenerationFlags {
  readonly system?: string;
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  readonly seed?: number;
  readonly stop?: readonly string[];
  readonly thinkingBudget?: number;
  readonly think?: boolean;
  readonly showThinking?: boolean;
}

function positive(most = Number.POSITIVE_INFINITY): (text: string) => number {
  const parse = decimal(0, most);
  return (text) => {
    const value = parse(text);
    if (value === 0)
      throw new InvalidArgumentError(
        `expected a number above 0${Number.isFinite(most) ? ` and at most ${most}` : ""}.`,
      );
    return value;
  };
}

function collect(text: string, before: readonly string[] = []): readonly string[] {
  if (text === "") throw new InvalidArgumentError("expected text that is not empty.");
  return [...before, text];
}

/** Adds them. What is not given is the model's own choice (generation_config.json). */
export function addGenerationOptions(command: Command): Command {
  return command
    .option("--system <text>", "system message")
    .option("--max-tokens <n>", "new tokens at most, thinking included", wholeNumber(1))
    .option("--temperature <t>", "0: always the most probable token", decimal(0))
    .option("--top-k <k>", "sample from the k most probable tokens; 0: off", wholeNumber(0))
    .option("--top-p <p>", "sample from the fewest tokens that together reach p; 1: off", positive(1))
    .option("--min-p <p>", "drop tokens below this share of the most probable one; 0: off", decimal(0, 1))
    .option("--repetition-penalty <x>", "above 1: tokens that occurred become less probable", positive())
    .option("--seed <n>", "seed of the sampling (default: a random one)", wholeNumber(0, 2 ** 31 - 1))
    .option("--stop <text>", "text that ends the answer; may be given several times", collect)
    .option("--thinking-budget <n>", "thinking tokens at most", wholeNumber(0))
    .option("--think", "ask for thinking before the answer (default: the model decides)")
    .option("--no-think", "ask for a direct answer")
    .option("--show-thinking", "show the thinking on stderr (default: on a terminal)")
    .option("--no-show-thinking", "hide the thinking");
}

/** The library's options. */
export function chatOptions(flags: GenerationFlags): ChatOptions {
  const { maxTokens, temperature, topK, topP, minP, repetitionPenalty, seed, stop, thinkingBudget, think } = flags;
  return given({
    maxTokens,
    temperature,
    topK,
    topP,
    minP,
    repetitionPenalty,
    seed,
    stop,
    thinkingBudget,
    enableThinking: think,
  });
}
