/**
 * The families write what the models were trained on, and never mix the splits.
 *
 * The fixture holds problems written by the generators of the models' training (origin and seeds stand in the file).
 */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  checkedFamilies,
  crc32,
  defaultMaterial,
  families,
  isEvaluation,
  type Level,
  make,
  openFamilies,
  Random,
  readProblem,
  verify,
} from "./index.js";

type Row = [family: string, level: Level, key: string | null, user: string, think: string, answer: string, crc: number];
const fixture = new URL("../../../test/fixtures/tasks/problems.json", import.meta.url);
// JSON.parse knows no types; the test fails on the first row that has another shape.
const { problems } = JSON.parse(readFileSync(fixture, "utf8")) as { problems: Row[] };

const levels = [0, 1, 2] as const;

describe("the wording of the training texts", () => {
  test("all 27 checked families and their levels are in the fixture", () => {
    expect(checkedFamilies).toHaveLength(27);
    const seen = new Set(problems.map(([family, level]) => `${family} ${level}`));
    expect(seen.size).toBe(27 * 3);
  });

  test.each(checkedFamilies.map(({ name }) => name))("%s", (name) => {
    for (const [family, , key, user, think, answer, crc] of problems) {
      const read = readProblem(name, user);
      if (family !== name) continue;
      expect(read, user).toHaveLength(1);
      expect(read[0]).toMatchObject({ key: key ?? user, user, think, answer });
      expect(crc32(new TextEncoder().encode(`${family}|${read[0]!.key}`))).toBe(crc);
      expect(isEvaluation(family, read[0]!.key)).toBe(crc % 16 === 0);
      expect(verify(read[0]!, answer)).toBe(true);
    }
  });

  test("a question that obeys two laws is read twice", () => {
    const read = readProblem("seq", "Which number follows: 2, 3, 5, 8?");
    expect(read.map(({ answer }) => answer)).toEqual(["13", "12"]);
  });

  test("countdown tries all expressions where its search ends without a result", () => {
    const [found] = readProblem("countdown", "Use each of the numbers 6, 7, 1, 1 once with +, - and * to make 6.");
    expect(found!.think.split("\n")).toHaveLength(4);
    expect(found!.think).toMatch(/\nTry .*\.$/);
    expect(verify(found!, found!.answer)).toBe(true);
  });

  test("questions of other families, and impossible ones, are not read", () => {
    expect(readProblem("add", "What is the sum of 3, 4?")).toEqual([]);
    expect(readProblem("sub", "3-4")).toEqual([]);
    expect(readProblem("divide", "7 / 0 = ?")).toEqual([]);
    expect(readProblem("divide", "7 / 2 = ?")).toEqual([]);
    expect(readProblem("add", "007+1")).toEqual([]); // keys are canonical
    expect(readProblem("countdown", "Make 149 from 1, 1, using each number once.")).toEqual([]);
    expect(readProblem("bool", "Evaluate: true and")).toEqual([]);
    expect(readProblem("bool", "Evaluate: true and false or true")).toEqual([]);
    expect(readProblem("seq", "Which number follows: 1, 1, 7, 2?")).toEqual([]);
    expect(readProblem("date", "What date is 3 days after February 30 in a year that is not a leap year?")).toEqual([]);
    expect(readProblem("word", "How many days are there in 3 feet?")).toEqual([]);
  });
});

describe("make", () => {
  test.each(checkedFamilies.map(({ name }) => name))("%s: answers verify, splits hold, questions read back", (name) => {
    for (const level of levels) {
      const random = new Random(`${name} ${level}`);
      for (let i = 0; i < 120; i++) {
        const split = i % 6 === 0 ? "evaluation" : "train";
        const problem = make(random, name, level, split);
        expect(isEvaluation(name, problem.key)).toBe(split === "evaluation");
        expect(problem.family).toBe(name);
        expect(problem.level).toBeGreaterThanOrEqual(level);
        expect(verify(problem, problem.answer)).toBe(true);
        expect(verify(problem, `<think>${problem.think}</think>${problem.answer}`)).toBe(true);
        expect(verify(problem, `${problem.answer} or so`)).toBe(false);
        const again = readProblem(name, problem.user).filter(({ answer }) => answer === problem.answer);
        expect(again, problem.user).toHaveLength(1);
        expect(again[0]).toEqual({ ...again[0], key: problem.key, think: problem.think });
      }
    }
  });

  test("the same seed gives the same problems", () => {
    const draw = (seed: string) => {
      const random = new Random(seed);
      return families.slice(0, 27).map(({ name }) => make(random, name, 1, "train").user);
    };
    expect(draw("a")).toEqual(draw("a"));
    expect(draw("a")).not.toEqual(draw("b"));
  });

  describe("with a small list of words", () => {
    const trained = defaultMaterial.words.filter((word) => !isEvaluation("length", word));
    const evaluated = defaultMaterial.words.filter((word) => isEvaluation("length", word));

    test("a level without a problem in the split gives way to the next", () => {
      const words = [...trained.slice(0, 1500), ...evaluated];
      expect(make(new Random("next level"), "length", 0, "evaluation", { words }).level).toBe(1);
    });

    test("no level has one: an error says so", () => {
      const draw = () => make(new Random("none"), "length", 0, "evaluation", { words: trained.slice(0, 50) });
      expect(draw).toThrowErrorMatchingInlineSnapshot(
        `[RangeError: tasks: found no evaluation problem of length from level 0 on in 400 draws a level.]`,
      );
    });

    test("harder levels use rarer words", () => {
      const [common, rare, rarest] = trained as [string, string, string]; // thousands of words
      const words = [...Array<string>(1500).fill(common), ...Array<string>(3500).fill(rare), rarest];
      const drawn = (level: Level) => {
        const random = new Random(`rank ${level}`);
        return new Set(Array.from({ length: 60 }, () => make(random, "length", level, "train", { words }).key));
      };
      expect(drawn(0)).toEqual(new Set([common]));
      expect(drawn(1)).toEqual(new Set([common, rare]));
    });
  });

  test("an unknown family is named, with those that there are", () => {
    expect(() => make(new Random(0), "addition", 0, "train")).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: tasks: there is no family "addition". Families: add, sub, mul, divide, compare, sort, sortwords, minmax, sum, mod, countdown, letters, length, revword, revlist, nth, copy, bool, weekday, date, time, leap, recall, word, seq, parity, case, spell, define, whichword, kind, small, unknown, story, continue.]`,
    );
  });
});

describe("open families", () => {
  const material = {
    ...defaultMaterial,
    glosses: [
      ["apple", "n", "fruit with red or yellow skin", "edible fruit"],
      ["walk", "v", "use one's feet to advance", ""],
      ["old", "a", "of long duration", ""],
    ],
    stories: [["the sea", "Once the sea was calm."]],
    continuations: [["The wind rose.", "Then it fell."]],
  } as const;

  test.each(openFamilies.map(({ name }) => name))("%s has a question and an answer in every level", (name) => {
    const random = new Random(name);
    for (let i = 0; i < 150; i++) {
      const problem = make(random, name, levels[i % 3]!, "train", material);
      expect(problem.key).toBeNull();
      expect(problem.user).not.toMatch(/[{}]|undefined/);
      expect(problem.answer).not.toMatch(/^$|[{}]|undefined/);
      expect(verify(problem, problem.answer)).toBe(true);
    }
  });

  test("definitions by part of speech", () => {
    const random = new Random("definitions");
    const answers = new Set(Array.from({ length: 60 }, () => make(random, "define", 0, "train", material).answer));
    expect([...answers].sort()).toEqual([
      "An apple is fruit with red or yellow skin.",
      "Old means of long duration.",
      "To walk is to use one's feet to advance.",
    ]);
    expect(make(random, "kind", 0, "train", material).answer).toBe("An apple is a kind of edible fruit.");
  });

  test("missing material is named", () => {
    expect(() => make(new Random(0), "define", 0, "train")).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: tasks: define needs material.glosses, got nothing.]`,
    );
    expect(() =>
      make(new Random(0), "story", 0, "train", { words: [], stories: [] }),
    ).toThrowErrorMatchingInlineSnapshot(`[RangeError: tasks: story needs material.stories, got an empty list.]`);
  });
});
