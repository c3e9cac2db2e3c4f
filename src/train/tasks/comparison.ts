/**
 * Which of two numbers is larger; is a number even.
 */
import { family } from "./problem.js";
import type { Random } from "./random.js";
import { gap, Wordings } from "./wordings.js";

interface Compared {
  readonly wording: number;
  /** As written: "9.8" and "9.80" are different problems. */
  readonly a: string;
  readonly b: string;
  readonly asksLarger: boolean;
}

const compareWordings = new Wordings(["Which is {w}, {a} or {b}?", "Which number is {w}: {a} or {b}?"], {
  w: "larger|smaller",
  a: gap.decimal,
  b: gap.decimal,
});

function drawWholes(random: Random, lo: number, hi: number, distance: number): [string, string] {
  const a = random.digits(lo, hi);
  const near = random.chance(0.5);
  const b = near ? Math.max(0, a + random.choice([-1, 1]) * random.int(1, distance)) : random.digits(lo, hi);
  return [String(a), String(a === b ? b + 1 : b)];
}

/** Decimals, mostly with equal whole parts, where the longer fraction need not be the larger number (9.8 and 9.11). */
function drawDecimals(random: Random): [string, string] {
  const whole = random.int(0, 20);
  const a = `${whole}.${random.digits(1, 3)}`;
  const b = `${random.chance(0.8) ? whole : random.int(0, 20)}.${random.digits(1, 3)}`;
  return [a, Number(a) === Number(b) ? `${b}5` : b];
}

function compareWholes(a: string, b: string): string {
  if (a.length !== b.length) {
    return `${a} has ${a.length} digits and ${b} has ${b.length}. More digits is larger.`;
  }
  let i = 0;
  while (a[i] === b[i]) i++;
  const same = [...a.slice(0, i)].map((digit) => `${digit} ${digit} same;`).join(" ");
  const [x, y] = [Number(a[i]), Number(b[i])];
  return `Same length. Compare from the left: ${same} ${x} ${y} differ. ${Math.max(x, y)} is larger.`;
}

function compareDecimals(a: string, b: string): string {
  const [wholeA = "", fractionA = ""] = a.split(".");
  const [wholeB = "", fractionB = ""] = b.split(".");
  if (wholeA !== wholeB) return `Whole parts ${wholeA} and ${wholeB} differ.`;
  const length = Math.max(fractionA.length, fractionB.length);
  return `Whole parts are equal. Pad the decimals: ${fractionA.padEnd(length, "0")} and ${fractionB.padEnd(length, "0")}. Compare them.`;
}

/** The larger or smaller of two whole numbers (levels 0 and 1) or decimals (level 2). */
export const compare = family<Compared>({
  name: "compare",
  weight: 1,
  highestDirectLevel: 2,
  draw: (random, level) => {
    const [a, b] = level === 2 ? drawDecimals(random) : drawWholes(random, 1 + level, 3 + 2 * level, 9 ** (level + 1));
    return { wording: compareWordings.draw(random), a, b, asksLarger: random.chance(0.6) };
  },
  build: ({ wording, a, b, asksLarger }) => {
    const [larger, smaller] = Number(a) > Number(b) ? [a, b] : [b, a];
    const steps = a.includes(".") ? compareDecimals(a, b) : compareWholes(a, b);
    return {
      key: `${a} ${b}`,
      user: compareWordings.write(wording, { w: asksLarger ? "larger" : "smaller", a, b }),
      think: `${steps} So ${larger} is larger than ${smaller}.`,
      answer: asksLarger ? larger : smaller,
    };
  },
  read: (user) =>
    compareWordings
      .read(user)
      .map((r) => ({ wording: r.wording, a: r.text("a"), b: r.text("b"), asksLarger: r.text("w") === "larger" }))
      .filter(({ a, b }) => Number(a) !== Number(b) && a.includes(".") === b.includes(".")),
});

interface Single {
  readonly wording: number;
  readonly a: number;
}

const parityWordings = new Wordings(["Is {a} even or odd?", "Is the number {a} odd or even?"], { a: gap.whole });

/** Even or odd. */
export const parity = family<Single>({
  name: "parity",
  weight: 0.4,
  highestDirectLevel: 2,
  draw: (random, level) => ({ wording: parityWordings.draw(random), a: random.digits(1, 2 + 2 * level) }),
  build: ({ wording, a }) => ({
    key: String(a),
    user: parityWordings.write(wording, { a }),
    think: `The last digit of ${a} is ${a % 10}.`,
    answer: a % 2 === 0 ? "even" : "odd",
  }),
  read: (user) => parityWordings.read(user).map((r) => ({ wording: r.wording, a: r.number("a") })),
});
