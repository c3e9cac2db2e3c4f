/** `fulgur chat`: a conversation in the terminal. */
import type { Command } from "commander";
import { modelSource } from "../../serve/chat-source.js";
import { chatLoop } from "../chat-loop.js";
import { ChatSession } from "../chat-session.js";
import { addGenerationOptions, chatOptions, type GenerationFlags } from "../generation-options.js";
import { catchInterrupts } from "../interrupt.js";
import { addModelOptions, type ModelOptions, openModel } from "../model-options.js";
import { colors, isTerminal, say, UsageError } from "../output.js";

type Flags = ModelOptions & GenerationFlags;

export function define(program: Command): void {
  const command = program
    .command("chat")
    .description("Talk with a model. Reads lines from a pipe, too, and answers each.");
  addGenerationOptions(addModelOptions(command))
    .addHelpText(
      "after",
      '\nExamples:\n  $ npm start --silent -- chat\n  $ printf "What is 347 + 58?\\nWhat is 12 * 12?\\n" | npm start --silent -- chat --show-thinking',
    )
    .action(talk);
}

async function talk(flags: Flags): Promise<void> {
  await using opened = await openModel(flags, { slots: 1 });
  const { model, device } = opened;
  if (!model.template) {
    throw new UsageError(
      `${model.name} has no chat template; continue a text with: generate --raw --model ${flags.model}`,
    );
  }
  using interrupts = catchInterrupts();
  const isInteractive = isTerminal && process.stdin.isTTY === true;
  const session = new ChatSession(modelSource(model), { system: flags.system, options: chatOptions(flags) });
  if (isInteractive) say(colors.dim(`${model.name} on ${device.label}. /help lists the commands; Ctrl-D leaves.`));
  await chatLoop(session, {
    input: process.stdin,
    output: process.stdout,
    talk: process.stderr,
    isInteractive,
    showThinking: flags.showThinking ?? (isInteractive && process.stdout.isTTY === true),
    signal: interrupts.signal,
  });
}
