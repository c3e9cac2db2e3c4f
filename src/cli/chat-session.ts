/** A conversation in the terminal: its history, its settings, and the commands that change them. */
import { writeFile } from "node:fs/promises";
import type { ChatOptions, ChatPart } from "../generate/index.js";
import { assistantContent } from "../generate/thinking.js";
import type { ChatSource } from "../serve/chat-source.js";
import { given } from "../serve/given.js";
import type { ChatMessage } from "../text/index.js";

/** A question and what came of it. */
export interface Turn {
  readonly question: string;
  readonly reasoning: string;
  readonly answer: string;
}

const help = `/help              these commands
/clear             forget the conversation
/system TEXT       set the system message; without TEXT: remove it
/think on|off|auto ask for thinking, for direct answers, or let the model decide
/budget N|off      thinking tokens at most
/save FILE         write the conversation as JSON
/exit              leave (or Ctrl-D)`;

export class ChatSession {
  private turns: Turn[] = [];
  private system: string | undefined;
  private options: ChatOptions;

  constructor(
    private readonly source: ChatSource,
    settings: { readonly system?: string | undefined; readonly options?: ChatOptions } = {},
  ) {
    this.system = settings.system;
    this.options = settings.options ?? {};
  }

  get history(): readonly Turn[] {
    return this.turns;
  }

  /** What goes to the model: earlier turns keep their thought, as the model wrote it. */
  messages(question?: string): ChatMessage[] {
    const { thinking } = this.source;
    return [
      ...(this.system === undefined ? [] : [{ role: "system", content: this.system }]),
      ...this.turns.flatMap((turn) => [
        { role: "user", content: turn.question },
        { role: "assistant", content: assistantContent(thinking, turn) },
      ]),
      ...(question === undefined ? [] : [{ role: "user", content: question }]),
    ];
  }

  /**
   * Asks, and keeps the answer in the history; also what came before an interruption, so that "go on" makes sense.
   * A question without any answer is forgotten.
   */
  async *ask(question: string, signal: AbortSignal): AsyncGenerator<ChatPart> {
    const turn = { question, reasoning: "", answer: "" };
    try {
      for await (const part of this.source.chat(this.messages(question), { ...this.options, signal })) {
        if (part.kind !== "done") turn[part.kind] += part.text;
        yield part;
      }
    } finally {
      if (turn.reasoning !== "" || turn.answer !== "") this.turns.push(turn);
    }
  }

  /** Whether a line is a command. */
  static isCommand(line: string): boolean {
    return /^\/[a-z]/.test(line);
  }

  /** Runs a command. @returns what to say, or "exit". */
  async command(line: string): Promise<{ readonly say: string } | "exit"> {
    const [, name = "", rest = ""] = /^\/(\S*)\s*(.*)$/s.exec(line.trim()) ?? [];
    switch (name) {
      case "help":
        return { say: help };
      case "exit":
      case "quit":
        return "exit";
      case "clear":
        this.turns = [];
        return { say: "The conversation starts anew." };
      case "system":
        this.system = rest === "" ? undefined : rest;
        return { say: rest === "" ? "No system message." : "System message set." };
      case "think":
        return { say: this.setThinking(rest) };
      case "budget":
        return { say: this.setBudget(rest) };
      case "save":
        return { say: rest === "" ? "/save expected a file's name." : await this.save(rest) };
      default:
        return { say: `There is no /${name}; /help lists the commands.` };
    }
  }

  private setThinking(value: string): string {
    const choices: Record<string, boolean | undefined> = { on: true, off: false, auto: undefined };
    if (!Object.hasOwn(choices, value)) return `/think expected on, off or auto; got ${value || "nothing"}.`;
    const { enableThinking: _, ...others } = this.options;
    this.options = { ...others, ...given({ enableThinking: choices[value] }) };
    return value === "auto" ? "The model decides whether to think." : `Thinking is ${value}.`;
  }

  private setBudget(value: string): string {
    const budget = value === "off" ? undefined : Number(value);
    if (value === "" || (budget !== undefined && (!Number.isInteger(budget) || budget < 0))) {
      return `/budget expected a whole number or off; got ${value || "nothing"}.`;
    }
    this.options = { ...this.options, thinkingBudget: budget };
    return budget === undefined ? "No thinking budget." : `At most ${budget} thinking tokens.`;
  }

  private async save(file: string): Promise<string> {
    const text = JSON.stringify(
      { model: this.source.name, date: new Date().toISOString(), system: this.system ?? null, turns: this.turns },
      undefined,
      2,
    );
    try {
      await writeFile(file, `${text}\n`, { flag: "wx" });
      return `Saved to ${file}.`;
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "EEXIST")
        return `${file} exists already; choose another name.`;
      return `${file} cannot be written: ${error instanceof Error ? error.message : String(error)}`;
    }
  }
}
