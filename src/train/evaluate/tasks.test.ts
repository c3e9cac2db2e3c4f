import { describe, expect, test } from "vitest";
import { isEvaluation, readProblem } from "../tasks/index.js";
import { drawProblems, ProblemFileError, readProblems } from "./problems.js";
import { type Answerer, evaluateTasks } from "./tasks.js";

describe("drawProblems", () => {
  const drawn = drawProblems({ families: ["add", "countdown"], perFamily: 6, seed: 3 });

  test("each family and mode gets its number, the levels in turn, out of the evaluation split", () => {
    expect(drawn.map(({ family, mode }) => `${family} ${mode}`)).toEqual(
      ["add think", "add direct", "countdown think", "countdown direct"].flatMap((name) => Array(6).fill(name)),
    );
    expect(new Set(drawn.map(({ level }) => level))).toEqual(new Set([0, 1, 2]));
    for (const { family, user } of drawn) {
      const [exercise] = readProblem(family, user.replace(" /no_think", ""));
      expect(isEvaluation(family, exercise?.key ?? null)).toBe(true);
    }
    expect(drawn.filter(({ check }) => check).length).toBe(12);
  });

  test("both modes ask the same", () => {
    const [think, direct] = [drawn[0], drawn[6]];
    expect(direct?.user).toBe(`${think?.user} /no_think`);
  });

  test("a family's problems do not depend on the others", () => {
    expect(drawProblems({ families: ["countdown"], modes: ["think"], perFamily: 6, seed: 3 })).toEqual(
      drawn.slice(12, 18),
    );
    expect(drawProblems({ families: ["add"], perFamily: 6, seed: 4 })).not.toEqual(drawn.slice(0, 12));
  });

  test("families without exact answers are refused", () => {
    expect(() => drawProblems({ families: ["story"], seed: 1 })).toThrow(/story has no exact answers/);
    expect(() => drawProblems({ families: ["ad"], seed: 1 })).toThrow(/no family "ad"/);
  });
});

describe("readProblems", () => {
  const line = (family: string, mode: string, answer: string) =>
    JSON.stringify({ family, mode, level: 1, user: "What?", answer, extra: 1 });
  const text = [
    line("add", "think", "1"),
    line("add", "think", "2"),
    "",
    line("add", "direct", "3"),
    line("sum", "think", "4"),
  ].join("\n");
  const answers = (choice: Parameters<typeof readProblems>[2]) =>
    readProblems(text, "p.jsonl", choice).map(({ answer }) => answer);

  test.each([
    { choice: {}, answers: ["1", "2", "3", "4"] },
    { choice: { perFamily: 1 }, answers: ["1", "3", "4"] },
    { choice: { families: ["add"] }, answers: ["1", "2", "3"] },
    { choice: { modes: ["direct"] as const }, answers: ["3"] },
  ])("$choice", (c) => expect(answers(c.choice)).toEqual(c.answers));

  test.each([
    ["{", /p\.jsonl, line 1: not JSON/],
    ['{"family":"add"}', /line 1: mode: .*; level: .*; user: .*; answer: /],
    ["\n[]", /line 2: the line: /],
    ["", /holds no problem/],
  ])("%j is refused", (text, message) => {
    expect(() => readProblems(text, "p.jsonl")).toThrow(ProblemFileError);
    expect(() => readProblems(text, "p.jsonl")).toThrow(message);
  });

  test("a family that the file lacks is named", () => {
    expect(() => readProblems(text, "p.jsonl", { families: ["add", "mod"] })).toThrow(
      "p.jsonl: holds no problem of mod",
    );
  });
});

describe("evaluateTasks", () => {
  const problems = drawProblems({ families: ["add", "parity"], perFamily: 4, seed: 1 });
  const answerOf = (user: string) => problems.find((problem) => problem.user === user)?.answer ?? "";

  test("counts by family, mode and level", async () => {
    // Right for additions and for direct parity; one token a character.
    const answerer: Answerer = async (user) => {
      const isRight = user.endsWith("/no_think") || !/even|odd/.test(user);
      return { text: isRight ? ` ${answerOf(user)}\n` : "neither", tokens: 10 };
    };
    const progress: string[] = [];
    const result = await evaluateTasks(answerer, problems, {
      batch: 3,
      onAnswer: (_, done, right) => progress.push(`${right}/${done}`),
    });
    expect(result.marked.map(({ problem }) => problem)).toEqual(problems);
    expect(result.families.map(({ family, mode, right, total }) => `${family} ${mode} ${right}/${total}`)).toEqual([
      "add think 4/4",
      "add direct 4/4",
      "parity think 0/4",
      "parity direct 4/4",
    ]);
    expect(result.modes).toEqual([
      { mode: "think", right: 4, total: 8, accuracy: 0.5, meanTokens: 10, meanOfFamilies: 0.5 },
      { mode: "direct", right: 8, total: 8, accuracy: 1, meanTokens: 10, meanOfFamilies: 1 },
    ]);
    for (const { levels, total } of result.families) {
      expect(levels.reduce((sum, level) => sum + level.total, 0)).toBe(total);
    }
    expect(progress.at(-1)).toBe("12/16");
  });

  test("never more at a time than the batch", async () => {
    let running = 0;
    let most = 0;
    const answerer: Answerer = async (user) => {
      most = Math.max(most, ++running);
      await Promise.resolve();
      running -= 1;
      return { text: answerOf(user), tokens: 1 };
    };
    const { modes } = await evaluateTasks(answerer, problems, { batch: 5 });
    expect(most).toBe(5);
    expect(modes.every(({ accuracy }) => accuracy === 1)).toBe(true);
  });

  test("an error stops the others and is thrown", async () => {
    let asked = 0;
    const answerer: Answerer = async () => {
      asked += 1;
      if (asked === 2) throw new Error("lost");
      return { text: "", tokens: 0 };
    };
    await expect(evaluateTasks(answerer, problems, { batch: 2 })).rejects.toThrow("lost");
    expect(asked).toBeLessThan(problems.length);
  });

  test("the signal's reason is thrown", async () => {
    const controller = new AbortController();
    const answerer: Answerer = async () => {
      controller.abort(new Error("interrupted"));
      return { text: "", tokens: 0 };
    };
    await expect(evaluateTasks(answerer, problems, { signal: controller.signal })).rejects.toThrow("interrupted");
  });
});
