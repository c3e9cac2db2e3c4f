/**
 * Facts to remember, and one of them asked for.
 */
import { type Exercise, family, type Material } from "./problem.js";
import type { Random } from "./random.js";
import { names, things } from "./vocabulary.js";

/** One kind of fact: what it says of a key, and how one asks for it. */
interface FactStyle {
  readonly fact: (key: string, value: string) => string;
  readonly question: (key: string) => string;
  /** All facts of a text; groups 1 and 2 are key and value. */
  readonly pattern: RegExp;
  draw(random: Random, count: number, material: Material): [keys: string[], values: string[]];
}

const commonest = 4000;

const styles: readonly FactStyle[] = [
  {
    fact: (key, value) => `The code for ${key} is ${value}.`,
    question: (key) => `What is the code for ${key}?`,
    pattern: /The code for ([a-z]+) is (\d{4})\./g,
    draw: (random, count, { words }) => [
      random.sample(words, count, commonest),
      Array.from({ length: count }, () => String(random.int(1000, 9999))),
    ],
  },
  {
    fact: (key, value) => `${key} = ${value}.`,
    question: (key) => `Which word belongs to ${key}?`,
    pattern: /([a-z]+) = ([a-z]+)\./g,
    draw: (random, count, { words }) => [
      random.sample(words, count, commonest),
      random.sample(words, count, commonest),
    ],
  },
  {
    fact: (key, value) => `${key} has ${value}.`,
    question: (key) => `What does ${key} have?`,
    pattern: /([A-Z][a-z]+) has (\d+ [a-z]+)\./g,
    draw: (random, count) => {
      const keys = random.sample(names, Math.min(count, names.length));
      return [keys, keys.map(() => `${random.int(2, 60)} ${random.choice(things)}`)];
    },
  },
];

/** Facts of one style, and which of them is asked for. */
export interface Facts {
  readonly style: number;
  readonly keys: readonly string[];
  readonly values: readonly string[];
  readonly asked: number;
}

/** Facts of a random style. There are 30 names, so that one style has at most 30 facts. */
export function drawFacts(random: Random, count: number, material: Material): Facts {
  const style = random.int(0, styles.length - 1);
  const [keys, values] = styles[style]!.draw(random, count, material);
  return { style, keys, values, asked: random.int(0, keys.length - 1) };
}

/** The facts as sentences. */
export function factLines({ style, keys, values }: Facts): string[] {
  return keys.map((key, i) => styles[style]!.fact(key, values[i]!));
}

/**
 * The exercise.
 *
 * @param body the text that holds all the facts; without it, one fact after the other.
 */
export function recallExercise(facts: Facts, body?: string): Exercise {
  const lines = factLines(facts);
  const key = facts.keys[facts.asked]!;
  const text = body ?? lines.join(" ");
  const question = styles[facts.style]!.question(key);
  return {
    key: text + question,
    user: `Remember: ${text}\n${question}`,
    think: `I look for ${key}: ${lines[facts.asked]}`,
    answer: facts.values[facts.asked]!,
  };
}

/** One of 4, 10 or 24 facts: codes, pairs of words, possessions. */
export const recall = family<Facts>({
  name: "recall",
  weight: 4.8,
  highestDirectLevel: 2,
  draw: (random, level, material) => drawFacts(random, [4, 10, 24][level]!, material),
  build: (facts) => recallExercise(facts),
  read: (user) =>
    styles.flatMap(({ pattern, question }, style) => {
      const found = [...user.matchAll(pattern)];
      const [keys, values] = [found.map((match) => match[1]!), found.map((match) => match[2]!)];
      return keys.flatMap((key, asked) =>
        user.endsWith(`\n${question(key)}`) ? [{ style, keys, values, asked }] : [],
      );
    }),
});
