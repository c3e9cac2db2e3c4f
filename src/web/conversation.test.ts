import { describe, expect, test } from "vitest";
import { applyEvent, askedTurn, failOpen, messagesFor, progressOf, type TurnEvent } from "./conversation.js";

const done: TurnEvent = {
  type: "done",
  id: 1,
  finishReason: "stop",
  usage: { promptTokens: 10, cachedTokens: 0, tokens: 5, reasoningTokens: 2 },
  timings: { firstTokenMs: 12, prefillMs: 10, decodeMs: 100, prefillTokensPerSecond: 1000, tokensPerSecond: 40 },
};

const part = (kind: "reasoning" | "answer", text: string): TurnEvent => ({ type: "part", id: 1, kind, text });

const turnsAfter = (...events: readonly TurnEvent[]) =>
  events.reduce((turns, event, i) => applyEvent(turns, event, 1000 + 100 * i), [askedTurn(1, "1 + 1?")] as ReturnType<
    typeof applyEvent
  >);

describe("a turn", () => {
  test("collects thinking and answer, and takes the engine's figures at the end", () => {
    const [turn] = turnsAfter(part("reasoning", "one and "), part("reasoning", "one"), part("answer", "2"), done);
    expect(turn).toMatchObject({ reasoning: "one and one", reasoningTokens: 2, answer: "2", state: "done" });
    expect(turn?.stats).toEqual({ tokens: 5, tokensPerSecond: 40, firstTokenMs: 12, contextTokens: 15 });
  });

  test("measures its own speed while it streams", () => {
    const [turn] = turnsAfter(part("answer", "a"), part("answer", "b"), part("answer", "c"));
    expect(turn && progressOf(turn)).toEqual({ tokens: 3, tokensPerSecond: 10 });
  });

  test("ignores what comes after its end", () => {
    const [turn] = turnsAfter(part("answer", "a"), { type: "stopped", id: 1 }, part("answer", "b"));
    expect(turn).toMatchObject({ answer: "a", state: "stopped" });
  });

  test("fails when the engine is gone, unless it was over", () => {
    expect(failOpen(turnsAfter(part("answer", "a")), "lost")[0]).toMatchObject({ state: "failed", error: "lost" });
    expect(failOpen(turnsAfter(done), "lost")[0]).toMatchObject({ state: "done", error: undefined });
  });
});

test("the next question carries finished and stopped turns, not failed ones", () => {
  const stopped = turnsAfter(part("reasoning", "hm"), part("answer", "a"), { type: "stopped", id: 1 });
  const failed = turnsAfter({ type: "error", id: 1, message: "no" });
  expect(messagesFor([...stopped, ...failed], "next")).toEqual([
    { role: "user", text: "1 + 1?" },
    { role: "assistant", text: "a", reasoning: "hm" },
    { role: "user", text: "next" },
  ]);
});
