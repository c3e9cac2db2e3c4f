/** An answer as it comes: the answer itself is data, the thinking and the statistics are talk. */
import type { ChatPart } from "../generate/index.js";
import { colors, isTerminal } from "./output.js";

type Done = Extract<ChatPart, { kind: "done" }>;

export interface AnswerTarget {
  /** Takes the answer. Default: stdout. */
  readonly data?: (text: string) => void;
  /** Takes the thinking. Default: stderr. */
  readonly talk?: (text: string) => void;
  /** Default: only where stdout and stderr are a terminal. */
  readonly showThinking?: boolean | undefined;
}

export interface AnswerWriter {
  write(part: ChatPart): void;
  /** Ends the line that is open, if one is. */
  end(): void;
}

/** Writes one answer. Whitespace at its start is left out. */
export function answerWriter(target: AnswerTarget = {}): AnswerWriter {
  const data = target.data ?? ((text: string) => void process.stdout.write(text));
  const talk = target.talk ?? ((text: string) => void process.stderr.write(text));
  const showThinking = target.showThinking ?? (isTerminal && process.stdout.isTTY === true);
  let open: "reasoning" | "answer" | undefined;
  let lastCharacter = "\n";
  const endLine = () => {
    if (open !== undefined && lastCharacter !== "\n") (open === "answer" ? data : talk)("\n");
    open = undefined;
  };
  return {
    write({ kind, text }) {
      if (kind === "done" || (kind === "reasoning" && !showThinking)) return;
      if (kind !== open) endLine();
      const shown = open === undefined ? text.trimStart() : text;
      if (shown === "") return;
      open = kind;
      lastCharacter = shown.at(-1) ?? "";
      if (kind === "answer") data(shown);
      else talk(colors.dim(shown));
    },
    end: endLine,
  };
}

const endings: Readonly<Record<Done["finishReason"], string>> = {
  stop: "",
  length: "; cut at --max-tokens",
  repetition: "; stopped because it repeated itself",
  context: "; the context is full",
};

/** One line about an answer. */
export function statistics({ usage, timings, finishReason }: Done): string {
  const thinking = usage.reasoningTokens > 0 ? ` (${usage.reasoningTokens} of them thinking)` : "";
  const rate =
    timings.tokensPerSecond > 0
      ? ` at ${timings.tokensPerSecond.toFixed(timings.tokensPerSecond < 10 ? 1 : 0)} tokens/s`
      : "";
  const tokens = `${usage.tokens} token${usage.tokens === 1 ? "" : "s"}`;
  return `${tokens}${thinking}${rate}, the first after ${timings.firstTokenMs.toFixed(0)} ms${endings[finishReason]}`;
}
