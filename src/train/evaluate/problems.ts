/** The problems of an evaluation: newly drawn from the evaluation split, or read from a file of one JSON object a line. */
import { z } from "zod";
import {
  type CountdownCheck,
  checkedFamilies,
  familyNamed,
  type Level,
  type Mode,
  make,
  Random,
  toPrompt,
} from "../tasks/index.js";

/** A problem as it is put to a model. */
export interface EvaluationProblem {
  readonly family: string;
  readonly mode: Mode;
  readonly level: Level;
  /** The user's message, with " /no_think" where the answer is wanted at once. */
  readonly user: string;
  readonly answer: string;
  readonly check?: CountdownCheck;
}

export interface ProblemChoice {
  /** Default: all checked families. */
  readonly families?: readonly string[] | undefined;
  /** Default: both. */
  readonly modes?: readonly Mode[] | undefined;
  /** Problems of each family and mode, at most. */
  readonly perFamily?: number | undefined;
}

/** A file of problems is damaged. */
export class ProblemFileError extends Error {
  override readonly name = "ProblemFileError";
}

const lineSchema = z.looseObject({
  family: z.string(),
  mode: z.enum(["think", "direct"]),
  level: z.union([z.literal(0), z.literal(1), z.literal(2)]),
  user: z.string().min(1),
  answer: z.string().min(1),
  check: z
    .object({ kind: z.literal("countdown"), numbers: z.array(z.number().int()), target: z.number().int() })
    .optional(),
});

/**
 * Draws problems, the levels in turn. Both modes get the same problems, so that they compare. Each family has its own
 * random numbers: its problems do not depend on which others are drawn.
 *
 * @throws {RangeError} A family is not known, or has no exact answers.
 */
export function drawProblems(choice: ProblemChoice & { readonly seed: number | string }): EvaluationProblem[] {
  const {
    families = checkedFamilies.map(({ name }) => name),
    modes = ["think", "direct"],
    perFamily = 30,
    seed,
  } = choice;
  return families.flatMap((family) => {
    mustBeChecked(family);
    const random = new Random(`${seed}/${family}`);
    const drawn = Array.from({ length: perFamily }, (_, i) => make(random, family, (i % 3) as Level, "evaluation")); // 0, 1, 2
    return modes.flatMap((mode) =>
      drawn.map((problem) => ({
        family,
        mode,
        level: problem.level,
        user: toPrompt(problem, mode),
        answer: problem.answer,
        ...(problem.check ? { check: problem.check } : {}),
      })),
    );
  });
}

/**
 * Reads a file's problems; with `perFamily` the first of each family and mode.
 *
 * @param source the file's name, for errors.
 * @throws {ProblemFileError} A line is no problem, or the choice leaves none.
 */
export function readProblems(text: string, source: string, choice: ProblemChoice = {}): EvaluationProblem[] {
  const { families, modes, perFamily = Number.POSITIVE_INFINITY } = choice;
  const counts = new Map<string, number>();
  const problems: EvaluationProblem[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const { check, ...problem } = parseLine(line, `${source}, line ${index + 1}`);
    if (families && !families.includes(problem.family)) continue;
    if (modes && !modes.includes(problem.mode)) continue;
    const key = `${problem.family}/${problem.mode}`;
    const count = counts.get(key) ?? 0;
    if (count >= perFamily) continue;
    counts.set(key, count + 1);
    problems.push(check ? { ...problem, check } : problem);
  }
  const missing = families?.filter((family) => !problems.some((problem) => problem.family === family)) ?? [];
  if (missing.length > 0) throw new ProblemFileError(`${source}: holds no problem of ${missing.join(", ")}`);
  if (problems.length === 0) throw new ProblemFileError(`${source}: holds no problem that was asked for`);
  return problems;
}

function parseLine(line: string, where: string) {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (cause) {
    throw new ProblemFileError(`${where}: not JSON`, { cause });
  }
  const parsed = lineSchema.safeParse(json);
  if (!parsed.success) {
    const issues = parsed.error.issues.map((issue) => `${issue.path.join(".") || "the line"}: ${issue.message}`);
    throw new ProblemFileError(`${where}: ${issues.join("; ")}`);
  }
  const { family, mode, level, user, answer, check } = parsed.data;
  return { family, mode, level, user, answer, check };
}

function mustBeChecked(family: string): void {
  if (familyNamed(family).isOpen) {
    const names = checkedFamilies.map(({ name }) => name).join(", ");
    throw new RangeError(`${family} has no exact answers and cannot be scored. Scored families: ${names}.`);
  }
}
