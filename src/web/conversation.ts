/** The conversation as the page shows it, and how the worker's events change it. Pure; no page, no engine. */
import type { FinishReason } from "fulgur";
import type { FromWorker, Message } from "./protocol.js";

export type TurnState = "waiting" | "streaming" | "done" | "stopped" | "failed";

export interface TurnStats {
  readonly tokens: number;
  readonly tokensPerSecond: number;
  readonly firstTokenMs: number;
  readonly contextTokens: number;
}

/** A question and what became of it. */
export interface Turn {
  /** Of the request that answers it. */
  readonly id: number;
  readonly question: string;
  readonly reasoning: string;
  /** While streaming: pieces so far, which are tokens in all but rare cases. */
  readonly reasoningTokens: number;
  readonly answer: string;
  readonly answerTokens: number;
  readonly state: TurnState;
  readonly finishReason: FinishReason | undefined;
  /** Of a failed turn. */
  readonly error: string | undefined;
  readonly stats: TurnStats | undefined;
  /** Page time of the first piece, and of the latest. */
  readonly firstPieceAt: number;
  readonly lastPieceAt: number;
}

export type Conversation = readonly Turn[];

/** Worker events that belong to a turn. */
export type TurnEvent = Extract<FromWorker, { readonly type: "part" | "done" | "stopped" | "error" }>;

export function askedTurn(id: number, question: string): Turn {
  return {
    id,
    question,
    reasoning: "",
    reasoningTokens: 0,
    answer: "",
    answerTokens: 0,
    state: "waiting",
    finishReason: undefined,
    error: undefined,
    stats: undefined,
    firstPieceAt: 0,
    lastPieceAt: 0,
  };
}

/** Whether more of the turn is to come. */
export function isOpen(turn: Turn | undefined): boolean {
  return turn?.state === "waiting" || turn?.state === "streaming";
}

/** Applies an event at page time `now` (ms). Events of turns that are gone or over change nothing. */
export function applyEvent(conversation: Conversation, event: TurnEvent, now: number): Conversation {
  return conversation.map((turn) => (turn.id === event.id && isOpen(turn) ? changed(turn, event, now) : turn));
}

/** Ends an open turn with an error: the engine is gone, and no event will come. */
export function failOpen(conversation: Conversation, error: string): Conversation {
  return conversation.map((turn) => (isOpen(turn) ? { ...turn, state: "failed", error } : turn));
}

function changed(turn: Turn, event: TurnEvent, now: number): Turn {
  switch (event.type) {
    case "part": {
      const times = { firstPieceAt: turn.firstPieceAt || now, lastPieceAt: now };
      return event.kind === "reasoning"
        ? {
            ...turn,
            ...times,
            state: "streaming",
            reasoning: turn.reasoning + event.text,
            reasoningTokens: turn.reasoningTokens + 1,
          }
        : {
            ...turn,
            ...times,
            state: "streaming",
            answer: turn.answer + event.text,
            answerTokens: turn.answerTokens + 1,
          };
    }
    case "done": {
      const { usage, timings, finishReason } = event;
      return {
        ...turn,
        state: "done",
        finishReason,
        reasoningTokens: usage.reasoningTokens,
        stats: {
          tokens: usage.tokens,
          tokensPerSecond: timings.tokensPerSecond,
          firstTokenMs: timings.firstTokenMs,
          contextTokens: usage.promptTokens + usage.tokens,
        },
      };
    }
    case "stopped":
      return { ...turn, state: "stopped" };
    case "error":
      return { ...turn, state: "failed", error: event.message };
  }
}

/** Tokens so far and their speed, measured in the page until the engine's own figures are there. */
export function progressOf(turn: Turn): { readonly tokens: number; readonly tokensPerSecond: number } {
  if (turn.stats) return turn.stats;
  const tokens = turn.reasoningTokens + turn.answerTokens;
  const seconds = (turn.lastPieceAt - turn.firstPieceAt) / 1000;
  return { tokens, tokensPerSecond: tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : 0 };
}

/** The messages that the model gets for the next question. Failed turns are left out, stopped ones stay as they are. */
export function messagesFor(conversation: Conversation, question: string): Message[] {
  const past = conversation
    .filter(({ state }) => state === "done" || state === "stopped")
    .flatMap((turn): Message[] => [
      { role: "user", text: turn.question },
      { role: "assistant", text: turn.answer, reasoning: turn.reasoning },
    ]);
  return [...past, { role: "user", text: question }];
}
