/**
 * Countdown: reach a target with +, - and * from numbers that are each used once.
 *
 * The thought searches backwards in a fixed order, so that nothing is tried twice. Two numbers make three values (sum,
 * difference, product). "Want" lists what a pair must make so that the rest leads to the target; "!" marks the first value
 * that is wanted. The search leaves out wanted values above 144 that a product or a difference would need; when it finds
 * nothing, a systematic trial of all expressions gives the answer.
 */
import { family, listKey, readNumbers } from "./problem.js";
import type { Random } from "./random.js";
import { gap, Wordings } from "./wordings.js";

const largestWanted = 144;

/** A value wanted of a pair: `value op rest` gives the target (for "r-": rest - value). */
interface Want {
  readonly value: number;
  readonly op: "+" | "-" | "*" | "r-";
  /** The expression of the rest, where it is not one number. */
  readonly rest: string;
}

/** The expressions of a pair with their values, in the order in which they are tried. */
function pairValues(a: number, b: number): [value: number, expression: string][] {
  const [high, low] = a >= b ? [a, b] : [b, a];
  return [
    [a + b, `${a} + ${b}`],
    [high - low, `${high} - ${low}`],
    [a * b, `${a} * ${b}`],
  ];
}

/** Values v with v + rest, rest - v, v - rest or v * rest equal to the target. */
function wanted(target: number, rest: number, text = String(rest)): Want[] {
  const wants: Want[] =
    target >= rest ? [{ value: target - rest, op: "+", rest: text }] : [{ value: rest - target, op: "r-", rest: text }];
  if (target + rest <= largestWanted) wants.push({ value: target + rest, op: "-", rest: text });
  if (rest !== 0 && target % rest === 0 && target / rest <= largestWanted) {
    wants.push({ value: target / rest, op: "*", rest: text });
  }
  return wants;
}

const show = (wants: readonly Want[]): string => wants.map((want) => want.value).join(" ");

function join(expression: string, op: Want["op"], rest: string | number): string {
  return op === "r-" ? `${rest} - ${expression}` : `${expression} ${op} ${rest}`;
}

interface Given {
  /** "3 4 give 7 1 12." or, when the last value is wanted, "3 4 give 7!". */
  readonly text: string;
  readonly hit?: { readonly expression: string; readonly want: Want };
}

function give(a: number, b: number, wants: readonly Want[]): Given {
  let text = `${a} ${b} give`;
  for (const [value, expression] of pairValues(a, b)) {
    text += ` ${value}`;
    const want = wants.find((w) => w.value === value);
    if (want !== undefined) return { text: `${text}!`, hit: { expression, want } };
  }
  return { text: `${text}.` };
}

/** Lines of thought, and an expression for the target if the search finds one. */
interface Search {
  readonly lines: string[];
  readonly expression?: string;
}

const without = (numbers: readonly number[], index: number): number[] => numbers.filter((_, i) => i !== index);

function searchTwo(a: number, b: number, target: number): Search {
  const given = give(a, b, [{ value: target, op: "+", rest: "" }]);
  const lines = [`Want ${target}. ${given.text}`];
  return given.hit === undefined ? { lines } : { lines, expression: given.hit.expression };
}

function searchThree(numbers: readonly number[], target: number): Search {
  const lines: string[] = [];
  for (const [i, last] of numbers.entries()) {
    const [a, b] = without(numbers, i) as [number, number]; // three numbers without one
    const wants = wanted(target, last);
    const { text, hit } = give(a, b, wants);
    lines.push(`Last ${last}: want ${show(wants)}. ${text}`);
    if (hit !== undefined) return { lines, expression: join(`(${hit.expression})`, hit.want.op, last) };
  }
  return { lines };
}

/** Two pairs: (a, b) with (c, d). */
function searchPairs(numbers: readonly number[], target: number): Search {
  const lines: string[] = [];
  const a = numbers[0]!;
  for (const i of [1, 2, 3]) {
    const b = numbers[i]!;
    const [c, d] = without(numbers.slice(1), i - 1) as [number, number]; // four numbers without two
    const lists = pairValues(c, d).map(([value, text]) => ({ value, wants: wanted(target, value, text) }));
    const { text, hit } = give(
      a,
      b,
      lists.flatMap((list) => list.wants),
    );
    lines.push(`${c} ${d} give ${lists.map((list) => `${list.value}: ${show(list.wants)}`).join("; ")}. ${text}`);
    if (hit !== undefined) return { lines, expression: join(`(${hit.expression})`, hit.want.op, `(${hit.want.rest})`) };
  }
  return { lines };
}

/** One number after the other: ((a, b), c), d, with one product among the last two steps. */
function searchChain(numbers: readonly number[], target: number): Search {
  const lines: string[] = [];
  for (const [i, last] of numbers.entries()) {
    const rest = without(numbers, i);
    const wants = wanted(target, last);
    let line = `Last ${last}: ${show(wants)}.`;
    for (const { value, op } of wants) {
      for (const [k, third] of rest.entries()) {
        const [a, b] = without(rest, k) as [number, number]; // three numbers without one
        let given: Given;
        if (op === "*") {
          const inner = wanted(value, third).filter((want) => want.op !== "*");
          given = give(a, b, inner);
          line += ` ${value} by ${third}: ${show(inner)}. ${given.text}`;
        } else if (third > 1 && value > 0 && value % third === 0 && value / third <= largestWanted) {
          given = give(a, b, [{ value: value / third, op: "*", rest: String(third) }]);
          line += ` ${value}/${third}=${value / third}: ${given.text}`;
        } else {
          continue;
        }
        if (given.hit !== undefined) {
          const inner = join(`(${given.hit.expression})`, given.hit.want.op, third);
          return { lines: [...lines, line], expression: join(`(${inner})`, op, last) };
        }
      }
    }
    lines.push(line);
  }
  return { lines };
}

function search(numbers: readonly number[], target: number): Search {
  if (numbers.length === 2) return searchTwo(numbers[0]!, numbers[1]!, target);
  if (numbers.length === 3) return searchThree(numbers, target);
  const pairs = searchPairs(numbers, target);
  if (pairs.expression !== undefined) return pairs;
  const chain = searchChain(numbers, target);
  return { ...chain, lines: [...pairs.lines, ...chain.lines] };
}

interface Part {
  readonly text: string;
  readonly value: number;
}

const bracketed = (text: string): string => (text.includes(" ") ? `(${text})` : text);

/** Both parts under one operation, the larger one first under "-". */
function combine(a: Part, b: Part, op: "+" | "-" | "*"): Part {
  const [x, y] = op === "-" && a.value < b.value ? [b, a] : [a, b];
  const value = op === "+" ? x.value + y.value : op === "-" ? x.value - y.value : x.value * y.value;
  return { text: `${bracketed(x.text)} ${op} ${bracketed(y.text)}`, value };
}

/** An expression for the target by trying all of them; no step goes below 0. */
export function solveCountdown(numbers: readonly number[], target: number): string | undefined {
  function attempt(parts: readonly Part[]): string | undefined {
    if (parts.length === 1) return parts[0]!.value === target ? parts[0]!.text : undefined;
    for (let i = 0; i < parts.length; i++) {
      for (let j = i + 1; j < parts.length; j++) {
        const others = parts.filter((_, k) => k !== i && k !== j);
        for (const op of ["+", "-", "*"] as const) {
          const found = attempt([...others, combine(parts[i]!, parts[j]!, op)]);
          if (found !== undefined) return found;
        }
      }
    }
    return undefined;
  }
  return attempt(numbers.map((value) => ({ text: String(value), value })));
}

/** A random expression over all parts in their order. */
function randomExpression(random: Random, parts: readonly Part[]): Part {
  if (parts.length === 1) return parts[0]!;
  const cut = random.int(1, parts.length - 1);
  const [left, right] = [randomExpression(random, parts.slice(0, cut)), randomExpression(random, parts.slice(cut))];
  return combine(left, right, random.choice(["+", "+", "-", "*"] as const));
}

interface Countdown {
  readonly wording: number;
  readonly numbers: readonly number[];
  readonly target: number;
}

const wordings = new Wordings(
  ["Use each of the numbers {x} once with +, - and * to make {v}.", "Make {v} from {x}, using each number once."],
  { x: gap.numbers, v: gap.whole },
);

/** Two, three or four numbers of 1–12, a target of 1–150. */
export const countdown = family<Countdown>({
  name: "countdown",
  weight: 2.6,
  highestDirectLevel: -1,
  draw: (random, level) => {
    const numbers = Array.from({ length: 2 + level }, () => random.int(1, 12));
    let target = 0;
    while (target < 1 || target > 150) {
      const parts = numbers.map((value) => ({ text: String(value), value }));
      target = randomExpression(random, random.shuffle(parts)).value;
    }
    return { wording: wordings.draw(random), numbers, target };
  },
  build: ({ wording, numbers, target }) => {
    const sorted = [...numbers].sort((a, b) => a - b);
    let { lines, expression } = search(numbers, target);
    if (expression === undefined) {
      expression = solveCountdown(numbers, target);
      if (expression === undefined) throw new RangeError(`countdown: ${numbers.join(", ")} cannot make ${target}.`);
      lines = [...lines.slice(0, 3), `Try ${expression}.`];
    }
    return {
      key: `${listKey(sorted)}->${target}`,
      user: wordings.write(wording, { x: numbers.join(", "), v: target }),
      think: lines.join("\n"),
      answer: `${expression} = ${target}`,
      check: { kind: "countdown", numbers: sorted, target },
    };
  },
  read: (user) =>
    wordings
      .read(user)
      .map((r) => ({ wording: r.wording, numbers: readNumbers(r.text("x")), target: r.number("v") }))
      .filter(({ numbers, target }) => {
        return numbers.length >= 2 && numbers.length <= 4 && solveCountdown(numbers, target) !== undefined;
      }),
});
