/**
 * Sums, differences, products, quotients and remainders of whole numbers.
 */
import { additionSteps, divisionSteps, productSteps, subtractionSteps } from "./column-steps.js";
import { family, type Level } from "./problem.js";
import { gap, type Reading, Wordings } from "./wordings.js";

interface Pair {
  readonly wording: number;
  readonly a: number;
  readonly b: number;
}

const gaps = { a: gap.whole, b: gap.whole };
const readPair = (reading: Reading): Pair => ({
  wording: reading.wording,
  a: reading.number("a"),
  b: reading.number("b"),
});

/** Counts of digits of `add` and `sub` at each level. */
const digitRange: Readonly<Record<Level, readonly [lo: number, hi: number]>> = { 0: [1, 2], 1: [2, 4], 2: [4, 6] };

const addWordings = new Wordings(
  [
    "What is {a} + {b}?",
    "{a} + {b} = ?",
    "Add {a} and {b}.",
    "Calculate {a} + {b}.",
    "What do you get when you add {a} and {b}?",
    "{a}+{b}",
    "Please work out {a} + {b}.",
  ],
  gaps,
);

/** Sums. */
export const add = family<Pair>({
  name: "add",
  weight: 2,
  highestDirectLevel: 1,
  draw: (random, level) => ({
    wording: addWordings.draw(random),
    a: random.digits(...digitRange[level]),
    b: random.digits(...digitRange[level]),
  }),
  build: ({ wording, a, b }) => ({
    key: `${a}+${b}`,
    user: addWordings.write(wording, { a, b }),
    think: additionSteps(a, b).join("\n"),
    answer: `${a} + ${b} = ${a + b}`,
  }),
  read: (user) => addWordings.read(user).map(readPair),
});

const subWordings = new Wordings(
  [
    "What is {a} - {b}?",
    "{a} - {b} = ?",
    "Subtract {b} from {a}.",
    "Calculate {a} - {b}.",
    "{a}-{b}",
    "What is {a} minus {b}?",
  ],
  gaps,
);

/** Differences, never below 0. */
export const sub = family<Pair>({
  name: "sub",
  weight: 1.6,
  highestDirectLevel: 1,
  draw: (random, level) => {
    const [x, y] = [random.digits(...digitRange[level]), random.digits(...digitRange[level])];
    return { wording: subWordings.draw(random), a: Math.max(x, y), b: Math.min(x, y) };
  },
  build: ({ wording, a, b }) => ({
    key: `${a}-${b}`,
    user: subWordings.write(wording, { a, b }),
    think: subtractionSteps(a, b).join("\n"),
    answer: `${a} - ${b} = ${a - b}`,
  }),
  read: (user) =>
    subWordings
      .read(user)
      .map(readPair)
      .filter(({ a, b }) => a >= b),
});

const mulWordings = new Wordings(
  [
    "What is {a} * {b}?",
    "{a} * {b} = ?",
    "Multiply {a} by {b}.",
    "Calculate {a} times {b}.",
    "{a}*{b}",
    "What is {a} times {b}?",
  ],
  gaps,
);

/** Products with a number of one or two digits. */
export const mul = family<Pair>({
  name: "mul",
  weight: 1.8,
  highestDirectLevel: 0,
  draw: (random, level) => {
    const wording = mulWordings.draw(random);
    if (level === 2) return { wording, a: random.digits(2, 3), b: random.int(11, 99) };
    if (level === 1) return { wording, a: random.digits(2, 4), b: random.int(2, 9) };
    return random.chance(0.5)
      ? { wording, a: random.int(10, 99), b: random.int(2, 9) }
      : { wording, a: random.int(2, 12), b: random.int(2, 12) };
  },
  build: ({ wording, a, b }) => ({
    key: `${a}*${b}`,
    user: mulWordings.write(wording, { a, b }),
    think: productSteps(a, b).join("\n"),
    answer: `${a} * ${b} = ${a * b}`,
  }),
  read: (user) =>
    mulWordings
      .read(user)
      .map(readPair)
      .filter(({ b }) => b < 100),
});

const divideWordings = new Wordings(["What is {a} / {b}?", "Divide {a} by {b}.", "{a} / {b} = ?"], gaps);

/** Divisions without remainder. */
export const divide = family<Pair>({
  name: "divide",
  weight: 1.2,
  highestDirectLevel: 0,
  draw: (random, level) => {
    const b = random.int(2, [9, 12, 25][level]!);
    return { wording: divideWordings.draw(random), a: b * random.int(2, [12, 40, 99][level]!), b };
  },
  build: ({ wording, a, b }) => {
    const { lines, digits } = divisionSteps(a, b);
    return {
      key: `${a}/${b}`,
      user: divideWordings.write(wording, { a, b }),
      think: [...lines, `Digits ${digits.join(" ")}.`].join(" "),
      answer: String(a / b),
    };
  },
  read: (user) =>
    divideWordings
      .read(user)
      .map(readPair)
      .filter(({ a, b }) => b > 0 && a % b === 0),
});

const modWordings = new Wordings(
  ["What is {a} mod {b}?", "What is the remainder when {a} is divided by {b}?", "{a} mod {b} = ?"],
  gaps,
);

/** Remainders. */
export const mod = family<Pair>({
  name: "mod",
  weight: 1.4,
  highestDirectLevel: 0,
  draw: (random, level) => {
    const b = random.int(2, [9, 12, 25][level]!);
    return { wording: modWordings.draw(random), a: random.int(b, [60, 200, 999][level]!), b };
  },
  build: ({ wording, a, b }) => ({
    key: `${a}%${b}`,
    user: modWordings.write(wording, { a, b }),
    think: [...divisionSteps(a, b).lines, `${a % b} is left.`].join(" "),
    answer: String(a % b),
  }),
  read: (user) =>
    modWordings
      .read(user)
      .map(readPair)
      .filter(({ b }) => b > 0),
});
