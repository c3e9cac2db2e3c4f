/**
 * Accuracy on exercises: each problem is put to a model, greedy, and its answer counts when it is exactly right.
 *
 * What answers is a function, so that a model here, a server elsewhere or a test's script can be measured. Many problems
 * are under way at once; for a model of this project they share the engine's batch.
 */
import { chat, type Model } from "../../generate/index.js";
import { type Mode, verify } from "../tasks/index.js";
import type { EvaluationProblem } from "./problems.js";

export interface Answer {
  /** What stands after the thinking. */
  readonly text: string;
  /** New tokens, thinking and end token included. */
  readonly tokens: number;
}

/** Answers one user message. */
export type Answerer = (user: string, signal?: AbortSignal) => Promise<Answer>;

export interface Marked {
  readonly problem: EvaluationProblem;
  readonly answer: Answer;
  readonly isRight: boolean;
}

export interface TasksOptions {
  /** Problems under way at once. Default 8. */
  readonly batch?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onAnswer?: ((marked: Marked, done: number, right: number) => void) | undefined;
}

export interface Score {
  readonly right: number;
  readonly total: number;
  readonly accuracy: number;
  readonly meanTokens: number;
}

export interface FamilyScore extends Score {
  readonly family: string;
  readonly mode: Mode;
  readonly levels: readonly { readonly level: number; readonly right: number; readonly total: number }[];
}

export interface ModeScore extends Score {
  readonly mode: Mode;
  /** Every family weighs the same. */
  readonly meanOfFamilies: number;
}

export interface TasksResult {
  readonly modes: readonly ModeScore[];
  readonly families: readonly FamilyScore[];
  /** In the order of the problems. */
  readonly marked: readonly Marked[];
}

/** Puts problems to a model of this project: greedy, with its chat template, thinking or not as the question asks. */
export function chatAnswerer(model: Model, options: { readonly maxTokens?: number } = {}): Answerer {
  const { maxTokens = 400 } = options;
  return async (user, signal) => {
    let text = "";
    let tokens = 0;
    for await (const part of chat(model, [{ role: "user", content: user }], { temperature: 0, maxTokens, signal })) {
      if (part.kind === "answer") text += part.text;
      else if (part.kind === "done") tokens = part.usage.tokens;
    }
    return { text, tokens };
  };
}

/** Measures. When one answer fails, the others are stopped and its error is thrown. */
export async function evaluateTasks(
  answerer: Answerer,
  problems: readonly EvaluationProblem[],
  options: TasksOptions = {},
): Promise<TasksResult> {
  const { batch = 8, signal, onAnswer } = options;
  const marked: Marked[] = [];
  const failure = new AbortController();
  const both = signal ? AbortSignal.any([signal, failure.signal]) : failure.signal;
  let next = 0;
  let done = 0;
  let right = 0;
  const work = async () => {
    for (;;) {
      both.throwIfAborted();
      const index = next++;
      const problem = problems[index];
      if (!problem) return;
      // A signal of its own: what listens to it goes with it, not with the whole evaluation.
      const answer = await answerer(problem.user, AbortSignal.any([both]));
      const isRight = verify(problem, answer.text);
      done += 1;
      if (isRight) right += 1;
      const one = { problem, answer, isRight };
      marked[index] = one;
      onAnswer?.(one, done, right);
    }
  };
  const workers = Array.from({ length: Math.min(batch, problems.length) }, async () => {
    try {
      await work();
    } catch (error) {
      failure.abort(error);
      throw error;
    }
  });
  // All must have ended before the model may be closed.
  const ended = await Promise.allSettled(workers);
  if (ended.some(({ status }) => status === "rejected")) throw signal?.aborted ? signal.reason : failure.signal.reason;
  return { ...scores(marked), marked };
}

/** Families in the order of their first problem. */
export function scores(marked: readonly Marked[]): Pick<TasksResult, "modes" | "families"> {
  const groups = groupBy(marked, ({ problem }) => `${problem.family}/${problem.mode}`);
  const families = groups.map((group): FamilyScore => {
    const { family, mode } = (group[0] as Marked).problem; // groups are not empty
    const levels = groupBy(group, ({ problem }) => problem.level)
      .map((part) => ({ level: (part[0] as Marked).problem.level, right: rightOf(part), total: part.length }))
      .sort((a, b) => a.level - b.level);
    return { family, mode, ...score(group), levels };
  });
  const modes = groupBy(marked, ({ problem }) => problem.mode).map((group): ModeScore => {
    const { mode } = (group[0] as Marked).problem;
    const own = families.filter((family) => family.mode === mode);
    return { mode, ...score(group), meanOfFamilies: own.reduce((sum, { accuracy }) => sum + accuracy, 0) / own.length };
  });
  return { modes, families };
}

const rightOf = (marked: readonly Marked[]) => marked.filter(({ isRight }) => isRight).length;

function score(marked: readonly Marked[]): Score {
  const [right, total] = [rightOf(marked), marked.length];
  const meanTokens = marked.reduce((sum, { answer }) => sum + answer.tokens, 0) / total;
  return { right, total, accuracy: right / total, meanTokens };
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => unknown): T[][] {
  const groups = new Map<unknown, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return [...groups.values()];
}
