/**
 * What an exercise is, and what a family of exercises must give.
 *
 * A family has three parts: `draw` chooses the parameters of one problem, `build` writes the problem down (without chance:
 * the same parameters give the same text), `read` finds the parameters of a question that was written before. `read` serves
 * files of problems that carry only the question: it gives back key and worked thought.
 */
import type { Random } from "./random.js";

/** Difficulty: 0 easy, 1 middle, 2 hard. */
export type Level = 0 | 1 | 2;

/** Any expression that uses each number once and gives the target is right. */
export interface CountdownCheck {
  readonly kind: "countdown";
  /** In ascending order. */
  readonly numbers: readonly number[];
  readonly target: number;
}

/** One exercise, as a family writes it. */
export interface Exercise {
  /** Canonical text of the problem; decides the split. `null`: open families, which have no evaluation. */
  readonly key: string | null;
  /** The question in plain English. */
  readonly user: string;
  /** The worked steps that stand between the think tags; may be empty. */
  readonly think: string;
  /** The whole answer text. */
  readonly answer: string;
  /** Present when other answers are right as well. */
  readonly check?: CountdownCheck;
  /** Training cuts the answer into single letters before tokenising, so that no rare token must be known. */
  readonly spelt?: true;
}

/** An exercise with its place in the collection. */
export interface Problem extends Exercise {
  readonly family: string;
  readonly level: Level;
}

/** A dictionary line: word, part of speech (noun, verb, adjective), meaning, broader word ("" when unknown). */
export type Gloss = readonly [word: string, part: "n" | "v" | "a", meaning: string, broader: string];

/** What the generators draw from. */
export interface Material {
  /** Lower-case words of 3–11 letters in order of frequency; levels use the commonest 400 … 12,000 of them, as far as there are. */
  readonly words: readonly string[];
  /** For `define`, `whichword`, `kind`. */
  readonly glosses?: readonly Gloss[];
  /** For `story`: [topic, text]. */
  readonly stories?: readonly (readonly [topic: string, text: string])[];
  /** For `continue`: [beginning, continuation]. */
  readonly continuations?: readonly (readonly [beginning: string, continuation: string])[];
}

/** A family with the type of its parameters. */
export interface FamilyDefinition<P> {
  readonly name: string;
  /** Relative frequency in training. */
  readonly weight: number;
  /** The highest level whose problems a small model can be asked to answer without thinking; -1: none. */
  readonly highestDirectLevel: Level | -1;
  /** Open families have many right answers, are trained but not scored, and have no split. */
  readonly isOpen?: true;
  draw(random: Random, level: Level, material: Material): P;
  build(parameters: P): Exercise;
  /** Candidates for the parameters of this question; those that `build` does not turn into `user` again are dropped. */
  read?(user: string): readonly P[];
}

/** A family whose parameters are its own business. */
export interface Family {
  readonly name: string;
  readonly weight: number;
  readonly highestDirectLevel: Level | -1;
  readonly isOpen: boolean;
  /** A new exercise of either split. */
  exercise(random: Random, level: Level, material: Material): Exercise;
  /** Every exercise of this family with exactly this question: none when it is not of this family, seldom two. */
  read(user: string): readonly Exercise[];
}

/** Closes a definition over its parameters. */
export function family<P>(definition: FamilyDefinition<P>): Family {
  return {
    name: definition.name,
    weight: definition.weight,
    highestDirectLevel: definition.highestDirectLevel,
    isOpen: definition.isOpen ?? false,
    exercise: (random, level, material) => definition.build(definition.draw(random, level, material)),
    read: (user) => (definition.read?.(user) ?? []).map((p) => definition.build(p)).filter((e) => e.user === user),
  };
}

/** The key of a list: `[3, 1]`, `['sea', 'old']`. This spelling decides the split, so it must not change. */
export function listKey(items: readonly number[] | readonly string[]): string {
  return `[${items.map((item) => (typeof item === "number" ? String(item) : `'${item}'`)).join(", ")}]`;
}

/** The numbers of a list such as "3, 14, 15". */
export function readNumbers(text: string): number[] {
  return text.split(", ").map(Number);
}

/**
 * A part of the material that not every caller has.
 *
 * @throws {RangeError} it is missing or empty.
 */
export function needed<T>(part: readonly T[] | undefined, family: string, name: keyof Material): readonly T[] {
  if (part !== undefined && part.length > 0) return part;
  throw new RangeError(
    `tasks: ${family} needs material.${name}, got ${part === undefined ? "nothing" : "an empty list"}.`,
  );
}
