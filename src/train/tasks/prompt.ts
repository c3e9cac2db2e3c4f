/**
 * How a problem is put to a model: with room to think, or asking for the answer at once.
 */
import type { Exercise } from "./problem.js";

/** `think`: the plain question. `direct`: the question with " /no_think". */
export type Mode = "think" | "direct";

/** The user's text, as the evaluation writes it; the chat template puts the roles around it. */
export function toPrompt(problem: Pick<Exercise, "user">, mode: Mode): string {
  return mode === "direct" ? `${problem.user} /no_think` : problem.user;
}

/** What the model should write after the assistant's mark: thought between think tags (empty when direct), then the answer. */
export function toReply(problem: Pick<Exercise, "think" | "answer">, mode: Mode): string {
  return `<think>${mode === "direct" ? "" : problem.think}</think>${problem.answer}`;
}
