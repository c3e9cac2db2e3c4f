/**
 * Judges an answer: exact text, or any right expression for `countdown`.
 */
import { evaluate } from "./expression.js";
import type { CountdownCheck, Exercise } from "./problem.js";

/**
 * True when the answer is right.
 *
 * @param text what a model wrote. When it holds `</think>`, only what follows the last one counts; blanks at both ends do not.
 */
export function verify(problem: Pick<Exercise, "answer" | "check">, text: string): boolean {
  const end = text.lastIndexOf("</think>");
  const answer = (end < 0 ? text : text.slice(end + "</think>".length)).trim();
  return problem.check === undefined ? answer === problem.answer : solvesCountdown(problem.check, answer);
}

function solvesCountdown({ numbers, target }: CountdownCheck, answer: string): boolean {
  const match = /^([\d+\-* ()]+) = (\d+)$/.exec(answer);
  if (match === null || Number(match[2]) !== target) return false;
  const result = evaluate(match[1]!);
  if (result === undefined || result.value !== BigInt(target)) return false;
  const used = [...result.numbers].sort((a, b) => a - b);
  const given = [...numbers].sort((a, b) => a - b);
  return used.length === given.length && used.every((x, i) => x === given[i]);
}
