/**
 * Problems of the collection: drawn for one split, or read back from their question.
 */
import { add, divide, mod, mul, sub } from "./arithmetic.js";
import { date, leap, time, weekday } from "./calendar.js";
import { compare, parity } from "./comparison.js";
import { countdown } from "./countdown.js";
import { define, kind, spell, whichword } from "./dictionary.js";
import { length, letters, revword } from "./letters.js";
import { bool } from "./logic.js";
import { minmax, sort, sum } from "./number-lists.js";
import type { Exercise, Family, Level, Material, Problem } from "./problem.js";
import type { Random } from "./random.js";
import { recall } from "./recall.js";
import { word } from "./sentences.js";
import { seq } from "./sequences.js";
import { isEvaluation, type Split } from "./split.js";
import { continuation, story } from "./stories.js";
import { small, unknown } from "./talk.js";
import { copy, nth, revlist, sortwords, upperCase } from "./word-lists.js";
import { commonWords } from "./words.js";

/** The 27 families with an exact check, in the order of the published accuracy tables. */
export const checkedFamilies: readonly Family[] = [
  add,
  sub,
  mul,
  divide,
  compare,
  sort,
  sortwords,
  minmax,
  sum,
  mod,
  countdown,
  letters,
  length,
  revword,
  revlist,
  nth,
  copy,
  bool,
  weekday,
  date,
  time,
  leap,
  recall,
  word,
  seq,
  parity,
  upperCase,
];

/** The 8 families without an exact check: trained, not scored. Five need more than words as material. */
export const openFamilies: readonly Family[] = [spell, define, whichword, kind, small, unknown, story, continuation];

/** All families: the checked ones, then the open ones. */
export const families: readonly Family[] = [...checkedFamilies, ...openFamilies];

const byName = new Map(families.map((family) => [family.name, family]));

/** The words that ship with the package. */
export const defaultMaterial: Material = { words: commonWords };

/**
 * A family by its name.
 *
 * @throws {RangeError} there is none; the message lists those that there are.
 */
export function familyNamed(name: string): Family {
  const found = byName.get(name);
  if (found === undefined) {
    throw new RangeError(`tasks: there is no family "${name}". Families: ${[...byName.keys()].join(", ")}.`);
  }
  return found;
}

// A sixteenth of all problems is for evaluation: 400 draws miss it with probability 6e-12 where a level has many problems.
const attempts = 400;

/**
 * A new problem that belongs to the split. When a level has none there (small levels), the next level gives it.
 *
 * @param family the family's name.
 * @throws {RangeError} no level from `level` on has a problem in this split.
 */
export function make(
  random: Random,
  family: string,
  level: Level,
  split: Split,
  material: Material = defaultMaterial,
): Problem {
  const source = familyNamed(family);
  for (let at: number = level; at <= 2; at++) {
    const current = at as Level; // 0, 1 or 2 by the loop's bounds
    for (let attempt = 0; attempt < attempts; attempt++) {
      const exercise = source.exercise(random, current, material);
      if (source.isOpen || isEvaluation(family, exercise.key) === (split === "evaluation")) {
        return { ...exercise, family, level: current };
      }
    }
  }
  throw new RangeError(
    `tasks: found no ${split} problem of ${family} from level ${level} on in ${attempts} draws a level.`,
  );
}

/**
 * The exercises that have exactly this question, with key and worked thought: for files that carry only the question.
 * Usually one; none when the question is not of the family; two where a sequence obeys two laws.
 */
export function readProblem(family: string, user: string): readonly Exercise[] {
  return familyNamed(family).read(user);
}
