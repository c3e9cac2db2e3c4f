/**
 * Which number comes next.
 */
import { family, listKey, readNumbers } from "./problem.js";
import type { Random } from "./random.js";
import { gap, Wordings } from "./wordings.js";

/** One law of a sequence. `n` is the count of numbers shown. */
interface Law {
  draw(random: Random, n: number): number[];
  /** The next number and the thought that leads to it; `undefined` when the numbers do not follow this law. */
  next(shown: readonly number[]): { value: number; think: string } | undefined;
}

const differences = (xs: readonly number[]): number[] => xs.slice(1).map((x, i) => x - xs[i]!);
const areEqual = (xs: readonly number[]): boolean => xs.every((x) => x === xs[0]);

/** Level 0 uses the first three laws, level 1 four, level 2 all. */
const laws: readonly Law[] = [
  {
    draw: (random, n) => {
      const [first, step] = [random.int(0, 50), random.int(1, 12)];
      return Array.from({ length: n }, (_, i) => first + step * i);
    },
    next: (shown) => {
      const steps = differences(shown);
      const [step, last] = [steps[0]!, shown.at(-1)!];
      if (step <= 0 || !areEqual(steps)) return undefined;
      return { value: last + step, think: `The difference is ${step}. ${last}+${step}=${last + step}.` };
    },
  },
  {
    draw: (random, n) => {
      const step = random.int(1, 9);
      const first = random.int(step * n, 120);
      return Array.from({ length: n }, (_, i) => first - step * i);
    },
    next: (shown) => {
      const steps = differences(shown);
      const [step, last] = [-steps[0]!, shown.at(-1)!];
      if (step <= 0 || !areEqual(steps)) return undefined;
      return { value: last - step, think: `The numbers fall by ${step}. ${last}-${step}=${last - step}.` };
    },
  },
  {
    draw: (random, n) => {
      const [first, factor] = [random.int(1, 6), random.choice([2, 2, 3])];
      return Array.from({ length: n }, (_, i) => first * factor ** i);
    },
    next: (shown) => {
      const [factor, last] = [shown[1]! / shown[0]!, shown.at(-1)!];
      if (factor < 2 || shown.slice(1).some((x, i) => x !== factor * shown[i]!)) return undefined;
      const value = last * factor;
      return { value, think: `Each number is ${factor} times the one before. ${last}*${factor}=${value}.` };
    },
  },
  {
    draw: (random, n) => {
      const xs = [random.int(1, 9), random.int(1, 9)];
      while (xs.length < n) xs.push(xs.at(-1)! + xs.at(-2)!);
      return xs;
    },
    next: (shown) => {
      if (shown.slice(2).some((x, i) => x !== shown[i]! + shown[i + 1]!)) return undefined;
      const [before, last] = [shown.at(-2)!, shown.at(-1)!];
      const value = before + last;
      return { value, think: `Each number is the sum of the two before. ${before}+${last}=${value}.` };
    },
  },
  {
    draw: (random, n) => {
      const step = random.int(1, 5);
      const xs = [random.int(0, 20)];
      while (xs.length < n) xs.push(xs.at(-1)! + step + xs.length - 1);
      return xs;
    },
    next: (shown) => {
      const steps = differences(shown);
      if (steps.slice(1).some((step, i) => step !== steps[i]! + 1)) return undefined;
      const [step, last] = [steps.at(-1)! + 1, shown.at(-1)!];
      const value = last + step;
      return {
        value,
        think: `The differences grow by 1: ${steps.join(", ")}, next ${step}. ${last}+${step}=${value}.`,
      };
    },
  },
];

interface Sequence {
  readonly wording: number;
  readonly law: number;
  readonly shown: readonly number[];
}

const wordings = new Wordings(
  ["What comes next: {x}, ...?", "Continue the sequence: {x}, ...", "Which number follows: {x}?"],
  { x: gap.numbers },
);

/** Arithmetic, geometric, Fibonacci-like and quadratic sequences. Four numbers can obey two laws (2, 3, 5, 8). */
export const seq = family<Sequence>({
  name: "seq",
  weight: 1.3,
  highestDirectLevel: 1,
  draw: (random, level) => {
    const law = random.int(0, 2 + level);
    return { wording: wordings.draw(random), law, shown: laws[law]!.draw(random, random.int(4, 6)) };
  },
  build: ({ wording, law, shown }) => {
    const next = laws[law]!.next(shown);
    if (next === undefined) throw new RangeError(`seq: the numbers ${shown.join(", ")} do not follow law ${law}.`);
    return {
      key: listKey([...shown, next.value]),
      user: wordings.write(wording, { x: shown.join(", ") }),
      think: next.think,
      answer: String(next.value),
    };
  },
  read: (user) =>
    wordings.read(user).flatMap((r) => {
      const shown = readNumbers(r.text("x"));
      return [...laws.keys()]
        .filter((law) => shown.length >= 4 && laws[law]!.next(shown) !== undefined)
        .map((law) => ({ wording: r.wording, law, shown }));
    }),
});
