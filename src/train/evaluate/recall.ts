/**
 * Recall over distance: eight facts spread over prose, one question at the end, answered with thinking. What a cache loses
 * shows here first: the answer stands once in the prompt, hundreds or thousands of tokens back.
 *
 * Source  `recall_long` of the reference evaluation of fulgur-mini and llama-mini (their model cards).
 */
import { type DistantProblem, Random, recallOverDistance } from "../tasks/index.js";
import type { EvaluationProblem } from "./problems.js";
import type { Marked } from "./tasks.js";

export type RecallProblem = EvaluationProblem &
  Pick<DistantProblem, "tokens" | "distance"> & {
    /** Length that was asked for, which `tokens` comes close to from below. */
    readonly length: number;
  };

export interface RecallChoice {
  /** Lengths of the user's text in tokens. */
  readonly lengths: readonly number[];
  /** Problems of each length. */
  readonly perLength: number;
  /** Plain text to spread the facts over. */
  readonly prose: string;
  readonly countTokens: (text: string) => number;
  readonly seed: number | string;
}

/** @throws {RangeError} A length is too short for the facts, or the prose for a length. */
export function drawRecall({ lengths, perLength, prose, countTokens, seed }: RecallChoice): RecallProblem[] {
  return lengths.flatMap((length) => {
    const random = new Random(`recall ${seed} ${length}`);
    return Array.from({ length: perLength }, (): RecallProblem => {
      const drawn = recallOverDistance(random, { tokens: length, prose, countTokens });
      return {
        family: drawn.family,
        mode: "think",
        level: drawn.level,
        user: drawn.user,
        answer: drawn.answer,
        tokens: drawn.tokens,
        distance: drawn.distance,
        length,
      };
    });
  });
}

export interface RecallScore {
  /** Mean tokens of the user's text, and of the way back to the fact. */
  readonly meanTokens: number;
  readonly meanDistance: number;
  readonly right: number;
  readonly total: number;
  readonly accuracy: number;
}

export interface RecallResult {
  readonly lengths: readonly (RecallScore & { readonly length: number })[];
  /** All problems by the way back to the fact: up to 512 tokens, to 1,024, to 2,048, … */
  readonly distances: readonly (RecallScore & { readonly upTo: number })[];
}

/** @param marked Marks of problems from `drawRecall`. */
export function recallScores(marked: readonly (Marked & { readonly problem: RecallProblem })[]): RecallResult {
  const lengths = [...new Set(marked.map(({ problem }) => problem.length))];
  const bins = [...new Set(marked.map(({ problem }) => binOf(problem.distance)))].sort((a, b) => a - b);
  return {
    lengths: lengths.map((length) => ({ length, ...score(marked.filter(({ problem }) => problem.length === length)) })),
    distances: bins.map((upTo) => ({
      upTo,
      ...score(marked.filter(({ problem }) => binOf(problem.distance) === upTo)),
    })),
  };
}

const binOf = (distance: number) => 512 * 2 ** Math.max(0, Math.ceil(Math.log2(distance / 512)));

function score(marked: readonly (Marked & { readonly problem: RecallProblem })[]): RecallScore {
  const total = marked.length;
  const right = marked.filter(({ isRight }) => isRight).length;
  const mean = (of: (problem: RecallProblem) => number) =>
    Math.round(marked.reduce((sum, { problem }) => sum + of(problem), 0) / total);
  return {
    meanTokens: mean(({ tokens }) => tokens),
    meanDistance: mean(({ distance }) => distance),
    right,
    total,
    accuracy: right / total,
  };
}
