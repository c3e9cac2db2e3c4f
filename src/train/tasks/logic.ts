/**
 * Expressions of true and false with and, or, not.
 */
import { family } from "./problem.js";
import type { Random } from "./random.js";
import { Wordings } from "./wordings.js";

type Formula =
  | { readonly kind: "constant"; readonly value: boolean }
  | { readonly kind: "not"; readonly inner: Formula }
  | { readonly kind: "and" | "or"; readonly left: Formula; readonly right: Formula };

function drawFormula(random: Random, depth: number): Formula {
  if (depth === 0) return { kind: "constant", value: random.chance(0.5) };
  const kind = random.weighted(["not", "and", "or"] as const, [0.25, 0.37, 0.38]);
  const left = drawFormula(random, depth - 1);
  if (kind === "not") return { kind, inner: left };
  return { kind, left, right: drawFormula(random, random.int(0, depth - 1)) };
}

const bracketed = (text: string): string => (text.includes(" ") ? `(${text})` : text);

/** The formula's text and value, and one step for each operation, innermost and left first. */
function work(formula: Formula): { text: string; value: boolean; steps: string[] } {
  if (formula.kind === "constant") return { text: String(formula.value), value: formula.value, steps: [] };
  if (formula.kind === "not") {
    const inner = work(formula.inner);
    const value = !inner.value;
    return {
      text: `not ${bracketed(inner.text)}`,
      value,
      steps: [...inner.steps, `not ${inner.value} is ${value}.`],
    };
  }
  const [left, right] = [work(formula.left), work(formula.right)];
  const value = formula.kind === "and" ? left.value && right.value : left.value || right.value;
  return {
    text: `${bracketed(left.text)} ${formula.kind} ${bracketed(right.text)}`,
    value,
    steps: [...left.steps, ...right.steps, `${left.value} ${formula.kind} ${right.value} is ${value}.`],
  };
}

/** Reads what `work` writes: operations nest only in parentheses. */
function parseFormula(text: string): Formula | undefined {
  const tokens = text.match(/true|false|and|or|not|[()]/g) ?? [];
  let at = 0;

  function operand(): Formula | undefined {
    const token = tokens[at++];
    if (token === "true" || token === "false") return { kind: "constant", value: token === "true" };
    if (token !== "(") return undefined;
    const inner = formula();
    return tokens[at++] === ")" ? inner : undefined;
  }

  function formula(): Formula | undefined {
    if (tokens[at] === "not") {
      at++;
      const inner = operand();
      return inner && { kind: "not", inner };
    }
    const left = operand();
    const kind = tokens[at];
    if (left === undefined || (kind !== "and" && kind !== "or")) return left;
    at++;
    const right = operand();
    return right && { kind, left, right };
  }

  const result = formula();
  return at === tokens.length ? result : undefined;
}

interface Logic {
  readonly wording: number;
  readonly formula: Formula;
}

const wordings = new Wordings(["What is {e}?", "Evaluate: {e}", "Is this true or false: {e}?"], {
  e: "[a-z() ]{1,400}",
});

/** Formulas of depth 1 to 3. Level 0 has 10 problems in all, few of them for evaluation. */
export const bool = family<Logic>({
  name: "bool",
  weight: 1,
  highestDirectLevel: 1,
  draw: (random, level) => ({ wording: wordings.draw(random), formula: drawFormula(random, level + 1) }),
  build: ({ wording, formula }) => {
    const { text, value, steps } = work(formula);
    return {
      key: text,
      user: wordings.write(wording, { e: text }),
      think: steps.join(" "),
      answer: String(value),
    };
  },
  read: (user) =>
    wordings.read(user).flatMap((r) => {
      const formula = parseFormula(r.text("e"));
      return formula === undefined ? [] : [{ wording: r.wording, formula }];
    }),
});
