import type { FinishReason } from "fulgur";
import { progressOf, type Turn } from "../conversation.js";
import { speedText, timeText, tokensText } from "../figures.js";
import { Thinking } from "./thinking.js";

/** Why an answer ended, where that is worth saying. */
const endings: Readonly<Record<FinishReason, string | undefined>> = {
  stop: undefined,
  length: "cut at the token limit (Settings)",
  repetition: "ended: it repeated itself",
  context: "cut: the context is full; start a new chat",
};

interface TurnProps {
  readonly turn: Turn;
  /** Set where asking again makes sense. */
  readonly onAskAgain: (() => void) | undefined;
}

/** A question, the thinking about it, and the answer. */
export function TurnView({ turn, onAskAgain }: TurnProps) {
  const { question, reasoning, reasoningTokens, answer, state, error } = turn;
  const isStreaming = state === "streaming";
  return (
    <li class="turn">
      <p class="question">
        <span class="sr-only">You: </span>
        {question}
      </p>
      <div class="reply">
        <span class="sr-only">Fulgur: </span>
        {reasoning !== "" && (
          <Thinking text={reasoning} tokens={reasoningTokens} isOngoing={isStreaming && answer === ""} />
        )}
        {state === "waiting" && (
          <p class="dots" role="img" aria-label="Reading the question">
            <i />
            <i />
            <i />
          </p>
        )}
        {answer !== "" && <p class={isStreaming ? "answer streaming" : "answer"}>{answer}</p>}
        {state === "failed" && (
          <div class="turn-error" role="alert">
            <p>{error}</p>
            {onAskAgain && (
              <button type="button" class="quiet outlined" onClick={onAskAgain}>
                Ask again
              </button>
            )}
          </div>
        )}
        {(state === "done" || state === "stopped") && <Ending turn={turn} />}
      </div>
    </li>
  );
}

function Ending({ turn }: { readonly turn: Turn }) {
  const { state, stats, finishReason, answer } = turn;
  const { tokens, tokensPerSecond } = progressOf(turn);
  const words = [
    state === "stopped" ? "stopped" : undefined,
    state === "done" && answer === "" ? "no answer" : undefined,
    finishReason && endings[finishReason],
    tokens > 0 && tokensText(tokens),
    tokensPerSecond > 0 && speedText(tokensPerSecond),
    stats && `first after ${timeText(stats.firstTokenMs)}`,
  ].filter(Boolean);
  return <p class="ending">{words.join(" · ")}</p>;
}
