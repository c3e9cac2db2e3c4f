/** `fulgur generate`: one prompt, one answer. */
import { text as readText } from "node:stream/consumers";
import type { Command } from "commander";
import { type ChatPart, chat, complete } from "../../generate/index.js";
import { answerWriter, statistics } from "../answer-writer.js";
import { addGenerationOptions, chatOptions, type GenerationFlags } from "../generation-options.js";
import { catchInterrupts } from "../interrupt.js";
import { addModelOptions, type ModelOptions, openModel } from "../model-options.js";
import { colors, isTerminal, printJson, say, UsageError } from "../output.js";
import { startupTeller } from "../startup.js";

interface Flags extends ModelOptions, GenerationFlags {
  readonly raw?: true;
  readonly json?: true;
  readonly verbose?: true;
}

export function define(program: Command): void {
  const command = program
    .command("generate")
    .description("Answer one prompt; the answer goes to stdout as it comes.")
    .argument("[prompt]", "the prompt; - or nothing: standard input")
    .option("--raw", "continue the text as it is, without the model's chat template")
    .option("--json", "print one JSON object with text, reasoning, token counts and timings")
    .option("--verbose", "say where the time to the first token went");
  addGenerationOptions(addModelOptions(command))
    .addHelpText(
      "after",
      '\nExamples:\n  $ npm start --silent -- generate "What is 347 + 58?"\n  $ echo "Once upon a time" | npm start --silent -- generate --raw --max-tokens 40 --json',
    )
    .action(generate);
}

async function generate(argument: string | undefined, flags: Flags): Promise<void> {
  if (flags.raw && (flags.system !== undefined || flags.think !== undefined)) {
    throw new UsageError(
      `--raw has no messages: leave ${flags.system === undefined ? "--think and --no-think" : "--system"} out`,
    );
  }
  const prompt = await promptText(argument);
  await using opened = await openModel(flags, { slots: 1 });
  const { model, device } = opened;
  using interrupts = catchInterrupts();
  const { signal } = interrupts;
  // Named in the result, so that a sampled text can be had again.
  const seed = flags.seed ?? Math.floor(Math.random() * 2 ** 31);
  const options = { ...chatOptions(flags), seed, signal };
  const messages = [
    ...(flags.system === undefined ? [] : [{ role: "system", content: flags.system }]),
    { role: "user", content: prompt },
  ];
  const parts: AsyncIterable<ChatPart> =
    flags.raw || !model.template ? complete(model, prompt, options) : chat(model, messages, options);

  const text = { reasoning: "", answer: "" };
  const writer = answerWriter({ showThinking: flags.showThinking, ...(flags.json ? { data: () => undefined } : {}) });
  const onPart = startupTeller(opened, flags.verbose === true);
  try {
    for await (const part of parts) {
      onPart();
      writer.write(part);
      if (part.kind !== "done") {
        text[part.kind] += part.text;
        continue;
      }
      writer.end();
      const { usage, finishReason, timings } = part;
      if (flags.json) {
        printJson({
          text: text.answer,
          reasoning: text.reasoning,
          promptTokens: usage.promptTokens,
          tokens: usage.tokens,
          reasoningTokens: usage.reasoningTokens,
          finishReason,
          timings,
          model: model.name,
          device: device.label,
          seed,
        });
      } else if (isTerminal) say(colors.dim(statistics(part)));
    }
  } catch (error) {
    writer.end();
    throw signal.aborted ? signal.reason : error;
  }
}

async function promptText(argument: string | undefined): Promise<string> {
  if (argument !== undefined && argument !== "-") {
    if (argument === "") throw new UsageError("the prompt is empty");
    return argument;
  }
  if (argument === undefined && process.stdin.isTTY)
    throw new UsageError("give a prompt, or pipe one in; --help has examples");
  // The line break that echo and editors add is no part of the prompt.
  const text = (await readText(process.stdin)).replace(/\r?\n$/, "");
  if (text === "") throw new UsageError("the prompt on standard input is empty");
  return text;
}
