import { describe, expect, test } from "vitest";
import { crc32, evaluate, toPrompt, toReply, verify } from "./index.js";

describe("verify", () => {
  const plain = { answer: "3 + 4 = 7" };
  test.each([
    ["3 + 4 = 7", true],
    ["  3 + 4 = 7\n", true],
    ["<think>hm</think> 3 + 4 = 7", true],
    ["<think>a</think>8</think>3 + 4 = 7", true],
    ["<think>3 + 4 = 7", false],
    ["3 + 4 = 7</think>", false],
    ["3+4=7", false],
    ["", false],
  ])("plain %j: %s", (text, right) => expect(verify(plain, text)).toBe(right));

  const countdown = {
    answer: "(3 + 4) * 5 = 35",
    check: { kind: "countdown", numbers: [3, 4, 5], target: 35 },
  } as const;
  test.each([
    ["(3 + 4) * 5 = 35", true],
    ["5 * (4 + 3) = 35", true],
    ["5*(4+3) = 35", true],
    ["<think>5 * 4</think>5 * (4 + 3) = 35", true],
    ["3 + 4 * 5 = 35", false],
    ["5 * 7 = 35", false],
    ["(3 + 4) * 5 + 3 - 3 = 35", false],
    ["(3 + 4) * 5 = 36", false],
    ["(3 + 4) * 5", false],
    ["35 = 35", false],
    ["(3 + 4) ** 5 = 35", false],
    ["(3 + 4)(5) = 35", false],
    [`${"(".repeat(100_000)} = 35`, false],
  ])("countdown %#: %s", (text, right) => expect(verify(countdown, text)).toBe(right));
});

describe("evaluate", () => {
  test.each([
    ["7", 7n],
    ["2 + 3 * 4", 14n],
    ["(2 + 3) * 4", 20n],
    ["10 - 3 - 4", 3n],
    ["-3 + 5", 2n],
    ["99999999999999999999 * 10", 999999999999999999990n],
  ])("%s", (text, value) => expect(evaluate(text)?.value).toBe(value));

  test.each(["", "1 +", "1 2", "()", "(1", "1)", "1 / 2", "2(3)", "1 + x", "**"])("%j is no expression", (text) => {
    expect(evaluate(text)).toBeUndefined();
  });

  test("names the numbers from left to right", () => {
    expect(evaluate("(12 - 3) * 4 + 3")?.numbers).toEqual([12, 3, 4, 3]);
  });
});

test("crc32 of the check string of the standard", () => {
  expect(crc32(new TextEncoder().encode("123456789"))).toBe(0xcbf43926);
});

test("prompts and replies", () => {
  const problem = { user: "Is 4 even or odd?", think: "The last digit of 4 is 4.", answer: "even" };
  expect(toPrompt(problem, "think")).toBe("Is 4 even or odd?");
  expect(toPrompt(problem, "direct")).toBe("Is 4 even or odd? /no_think");
  expect(toReply(problem, "think")).toBe("<think>The last digit of 4 is 4.</think>even");
  expect(toReply(problem, "direct")).toBe("<think></think>even");
});
