import { describe, expect, test } from "vitest";
import { isEvaluation, Random, recallOverDistance, verify } from "./index.js";

const sentence = "The old man went slowly down to the harbour and looked at the ships.\nNobody spoke to him. ";
const prose = sentence.repeat(800);
/** A stand-in for a tokenizer: words and marks. */
const countTokens = (text: string): number => text.match(/\w+|[^\w\s]/g)?.length ?? 0;

describe("recallOverDistance", () => {
  test.each([300, 500, 1950, 7600])("%i tokens", (tokens) => {
    const random = new Random(tokens);
    for (let i = 0; i < 6; i++) {
      const problem = recallOverDistance(random, { tokens, prose, countTokens });
      expect(problem.tokens).toBe(countTokens(problem.user));
      expect(problem.tokens).toBeLessThanOrEqual(tokens);
      expect(problem.tokens).toBeGreaterThan(tokens - 24); // a piece ends at a word: eight pieces, about two words each
      expect(problem.distance).toBeLessThan(problem.tokens);
      expect(problem.user.startsWith("Remember: ")).toBe(true);
      // Eight facts and eight pieces of prose, one a line, then the question.
      const lines = problem.user.split("\n");
      expect(lines).toHaveLength(17);
      const fact = problem.think.replace(/^I look for .*?: /, "");
      expect(lines.map((line) => line.replace(/^Remember: /, ""))).toContain(fact);
      expect(fact).toContain(problem.answer);
      expect(problem.key).toBe(problem.user.slice("Remember: ".length).replace(/\n(?=[^\n]*$)/, ""));
      expect(verify(problem, problem.answer)).toBe(true);
    }
  });

  test.each(["train", "evaluation"] as const)("only problems of the split %s", (split) => {
    const random = new Random(split);
    for (let i = 0; i < 12; i++) {
      const problem = recallOverDistance(random, { tokens: 400, prose, countTokens, split, facts: 4 });
      expect(isEvaluation("recall", problem.key)).toBe(split === "evaluation");
    }
  });

  test("every place in the text is asked for", () => {
    const random = new Random("places");
    const distances = Array.from(
      { length: 60 },
      () => recallOverDistance(random, { tokens: 1000, prose, countTokens }).distance,
    );
    expect(Math.min(...distances)).toBeLessThan(250);
    expect(Math.max(...distances)).toBeGreaterThan(850);
  });

  test("readable errors", () => {
    const random = new Random("errors");
    const make = (options: { tokens: number; facts?: number; prose?: string }) => () =>
      recallOverDistance(random, { prose, countTokens, ...options });
    expect(make({ tokens: 1000, prose: "Short." })).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: recallOverDistance: prose expected more than 1000 characters for 1000 tokens and 8 facts, got 6.]`,
    );
    expect(make({ tokens: 20 })).toThrow(/tokens expected at least \d+ for these facts, got 20/);
    expect(make({ tokens: 500, facts: 31 })).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: recallOverDistance: facts expected 1 to 30, got 31.]`,
    );
  });
});
