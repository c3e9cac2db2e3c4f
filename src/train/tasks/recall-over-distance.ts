/**
 * Recall over a distance: facts spread evenly over prose, one of them asked for at the end.
 *
 *   Remember: fact 1
 *   prose
 *   fact 2
 *   …
 *   prose
 *   question
 */
import type { Material, Problem } from "./problem.js";
import type { Random } from "./random.js";
import { drawFacts, factLines, recallExercise } from "./recall.js";
import { isEvaluation, type Split } from "./split.js";
import { commonWords } from "./words.js";

/** What `recallOverDistance` needs. */
export interface RecallOverDistanceOptions {
  /** Length of the user's text in tokens: reached from below, within a few words a piece of prose. */
  readonly tokens: number;
  /** Plain text to cut the pieces from; it must be longer than a piece may become (see the error). */
  readonly prose: string;
  /** The number of tokens of a text. */
  readonly countTokens: (text: string) => number;
  /** How many facts, 1 to 30; 8 in the published measurements. */
  readonly facts?: number;
  /** Only problems of this split; both when left out, as in the published measurements. */
  readonly split?: Split;
  readonly material?: Material;
}

/** A recall problem with its measured lengths. */
export interface DistantProblem extends Problem {
  /** Tokens of the user's text. */
  readonly tokens: number;
  /** Tokens from the end of the fact that is asked for to the end of the user's text. */
  readonly distance: number;
}

// Long pieces of English reach 5 characters a token with large vocabularies; 8 leaves room.
const mostCharactersPerToken = 8;

/** A stretch of prose on one line, cut at blanks; "" when it holds no whole word. */
function piece(prose: string, start: number, characters: number): string {
  const text = prose.slice(start, start + characters).replace(/[\0\n]/g, " ");
  const [first, last] = [text.indexOf(" "), text.lastIndexOf(" ")];
  return last > first ? `${text.slice(first + 1, last)}.` : "";
}

/**
 * A new recall problem of about the given length.
 *
 * @throws {RangeError} the facts alone are longer than `tokens`, or the prose is too short.
 */
export function recallOverDistance(random: Random, options: RecallOverDistanceOptions): DistantProblem {
  const { tokens, prose, countTokens, split } = options;
  const count = options.facts ?? 8;
  if (!Number.isInteger(count) || count < 1 || count > 30) {
    throw new RangeError(`recallOverDistance: facts expected 1 to 30, got ${count}.`);
  }
  const longest = Math.ceil((tokens * mostCharactersPerToken) / count);
  if (!(prose.length > longest)) {
    throw new RangeError(
      `recallOverDistance: prose expected more than ${longest} characters for ${tokens} tokens and ${count} facts, got ${prose.length}.`,
    );
  }
  const material = options.material ?? { words: commonWords };

  // One problem of 16 is for evaluation and 8 questions fit each document: 400 documents always hold one.
  for (let attempt = 0; attempt < 400; attempt++) {
    const facts = drawFacts(random, count, material);
    const lines = factLines(facts);
    const starts = lines.map(() => random.int(0, prose.length - longest));
    const write = (characters: number, asked: number) => {
      const parts = lines.flatMap((line, i) => {
        const text = piece(prose, starts[i]!, characters);
        return text === "" ? [line] : [line, text];
      });
      return recallExercise({ ...facts, asked }, parts.join("\n"));
    };
    const characters = fitSize((size) => countTokens(write(size, facts.asked).user), tokens, longest);
    const order = [facts.asked, ...random.shuffle(lines.map((_, i) => i).filter((i) => i !== facts.asked))];
    for (const asked of order) {
      const exercise = write(characters, asked);
      if (split !== undefined && isEvaluation("recall", exercise.key) !== (split === "evaluation")) continue;
      const length = countTokens(exercise.user);
      if (length > tokens) continue; // this key is a token or two longer than the one that was fitted
      const end = exercise.user.indexOf(`${lines[asked]}\n`) + lines[asked]!.length;
      const distance = countTokens(exercise.user.slice(end));
      return { ...exercise, family: "recall", level: 2, tokens: length, distance };
    }
  }
  throw new RangeError(`recallOverDistance: found no ${split ?? ""} problem of ${tokens} tokens in 400 documents.`);
}

/** The size of a piece for which `measure` comes close to `target` from below. */
function fitSize(measure: (size: number) => number, target: number, longest: number): number {
  const bare = measure(0);
  if (bare > target) {
    throw new RangeError(`recallOverDistance: tokens expected at least ${bare} for these facts, got ${target}.`);
  }
  // Tokens grow almost in proportion to characters: a few steps of false position between the best bounds are enough.
  let [low, lowTokens] = [0, bare];
  let [high, highTokens] = [longest, Number.POSITIVE_INFINITY];
  let size = Math.min(longest, Math.round(longest / 2));
  for (let step = 0; step < 12 && high - low > 1; step++) {
    const length = measure(size);
    if (length <= target) [low, lowTokens] = [size, length];
    else [high, highTokens] = [size, length];
    if (lowTokens >= target * 0.995) break;
    const slope = Number.isFinite(highTokens)
      ? (highTokens - lowTokens) / (high - low)
      : (lowTokens - bare) / Math.max(1, low);
    const guess = slope > 0 ? Math.floor(low + (target - lowTokens) / slope) : Math.floor((low + high) / 2);
    size = Math.min(high - 1, Math.max(low + 1, guess));
  }
  return low;
}
