/** The terminal side of a chat: lines in, answers out. Works the same when the lines come from a file or a pipe. */
import { createInterface } from "node:readline";
import { answerWriter, statistics } from "./answer-writer.js";
import { ChatSession } from "./chat-session.js";
import { colors, InterruptedError } from "./output.js";

export interface ChatTerminal {
  readonly input: NodeJS.ReadableStream;
  /** Takes the answers. */
  readonly output: NodeJS.WritableStream;
  /** Takes the prompt, the thinking and the talk. */
  readonly talk: NodeJS.WritableStream;
  /** A person types: show a prompt and edit lines. */
  readonly isInteractive: boolean;
  readonly showThinking?: boolean | undefined;
  /** Interrupts from outside the terminal's keys. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs a chat until its input ends or /exit.
 *
 * @throws {InterruptedError} Ctrl-C twice at the prompt, or `terminal.signal`.
 */
export async function chatLoop(session: ChatSession, terminal: ChatTerminal): Promise<void> {
  const { input, talk, isInteractive, signal } = terminal;
  const say = (text: string) => void talk.write(`${text}\n`);
  const keys = createInterface({ input, output: talk, terminal: isInteractive, prompt: colors.bold("› ") });
  const lines = lineQueue(keys);
  let answering: AbortController | undefined;
  let isLeaving = false;
  let isInterrupted = false;
  // On a terminal in raw mode Ctrl-C is a key, and this is where it arrives.
  keys.on("SIGINT", () => {
    if (answering) return answering.abort(new InterruptedError());
    if (keys.line !== "") {
      keys.write(null, { ctrl: true, name: "e" });
      keys.write(null, { ctrl: true, name: "u" });
      return;
    }
    if (isLeaving) {
      isInterrupted = true;
      return keys.close();
    }
    isLeaving = true;
    say("\nCtrl-C again, Ctrl-D or /exit leaves.");
    keys.prompt();
  });
  const onOutside = () => {
    isInterrupted = true;
    answering?.abort(new InterruptedError());
    keys.close();
  };
  if (signal?.aborted) onOutside();
  signal?.addEventListener("abort", onOutside, { once: true });

  try {
    for (;;) {
      if (isInteractive && !isInterrupted) keys.prompt();
      const line = await lines.next();
      if (isInterrupted) throw new InterruptedError();
      if (line === undefined) break;
      isLeaving = false;
      const text = line.trim();
      if (text === "") continue;
      if (ChatSession.isCommand(text)) {
        const result = await session.command(text);
        if (result === "exit") break;
        say(colors.dim(result.say));
        continue;
      }
      answering = new AbortController();
      await answer(session, text, answering.signal, terminal, say);
      answering = undefined;
    }
    if (isInteractive) say("");
  } finally {
    signal?.removeEventListener("abort", onOutside);
    keys.close();
  }
}

async function answer(
  session: ChatSession,
  question: string,
  signal: AbortSignal,
  { output, talk, isInteractive, showThinking }: ChatTerminal,
  say: (text: string) => void,
): Promise<void> {
  const writer = answerWriter({
    data: (text) => void output.write(text),
    talk: (text) => void talk.write(text),
    showThinking: showThinking ?? isInteractive,
  });
  try {
    for await (const part of session.ask(question, signal)) {
      writer.write(part);
      if (part.kind !== "done") continue;
      writer.end();
      if (isInteractive) say(colors.dim(statistics(part)));
    }
  } catch (error) {
    writer.end();
    if (signal.aborted) say(colors.dim("(stopped)"));
    // The conversation goes on: a prompt that became too long can be cleared.
    else say(`${error instanceof Error ? error.message : String(error)}`);
  }
}

/**
 * The lines of an interface in order. `question` would lose lines that a pipe delivers while an answer is under way.
 */
function lineQueue(keys: ReturnType<typeof createInterface>): { next(): Promise<string | undefined> } {
  const waiting: string[] = [];
  let isClosed = false;
  let wake: (() => void) | undefined;
  keys.on("line", (line) => {
    waiting.push(line);
    wake?.();
  });
  keys.on("close", () => {
    isClosed = true;
    wake?.();
  });
  return {
    async next() {
      while (waiting.length === 0 && !isClosed) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return waiting.shift();
    },
  };
}
