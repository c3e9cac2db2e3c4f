/** `fulgur eval tasks`: accuracy on exercises with exact answers. */
import { basename } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import {
  chatAnswerer,
  drawProblems,
  type EvaluationProblem,
  evaluateTasks,
  type FamilyScore,
  ProblemFileError,
  readProblems,
  type TasksResult,
} from "../../train/evaluate/index.js";
import { checkedFamilies, type Mode } from "../../train/tasks/index.js";
import { catchInterrupts } from "../interrupt.js";
import { addModelOptions, type ModelOptions, openModel, wholeNumber } from "../model-options.js";
import { print, printJson, progressLine, table, UsageError } from "../output.js";
import { readText } from "./read-text.js";

interface Flags extends ModelOptions {
  readonly family?: readonly string[];
  readonly mode: Mode | "both";
  readonly problems?: number;
  readonly levels?: true;
  readonly seed: number;
  readonly file?: string;
  readonly maxTokens: number;
  readonly batch: number;
  readonly answers?: true;
  readonly json?: true;
}

const DRAWN = 30;

export function defineTasks(parent: Command): void {
  const command = parent
    .command("tasks")
    .description("Accuracy on exercises: greedy answers, right only when they are exactly right.")
    .option("--family <names>", `families, with commas between (default: all ${checkedFamilies.length})`, familyList)
    .addOption(
      new Option("--mode <mode>", "with thinking, asking for a direct answer, or both")
        .choices(["think", "direct", "both"])
        .default("both"),
    )
    .option("--problems <n>", `problems of each family and mode (default: ${DRAWN}; of a file: all)`, wholeNumber(1))
    .option("--levels", "show the accuracy by level")
    .option("--seed <n>", "seed of the problems that are drawn", wholeNumber(0), 1)
    .option("--file <file>", "take the problems of a .jsonl file, plain or .gz, instead of drawing them")
    .option("--max-tokens <n>", "new tokens of an answer at most", wholeNumber(1), 400)
    .option("--batch <n>", "problems at a time", wholeNumber(1, 1024), 8)
    .option("--answers", "with --json: the answers too")
    .option("--json", "print one JSON object");
  addModelOptions(command)
    .addHelpText(
      "after",
      "\nThe problems belong to the evaluation split: training never sees them.\n\nExamples:\n  $ npm start --silent -- eval tasks --family add,sum --problems 6\n  $ npm start --silent -- eval tasks --problems 3 --mode think --levels --json",
    )
    .action(run);
}

function familyList(text: string): readonly string[] {
  const names = text.split(",").map((name) => name.trim());
  const known = checkedFamilies.map(({ name }) => name);
  const bad = names.filter((name) => !known.includes(name));
  if (bad.length > 0)
    throw new InvalidArgumentError(`there is no family ${bad.join(", ")}; there are ${known.join(", ")}.`);
  return [...new Set(names)];
}

async function run(flags: Flags): Promise<void> {
  const problems = await problemsOf(flags);
  using interrupts = catchInterrupts();
  const { signal } = interrupts;
  try {
    await using opened = await openModel(flags, { slots: flags.batch, signal });
    const { model, device } = opened;
    const began = performance.now();
    const line = progressLine("Exercises");
    let result: TasksResult;
    try {
      result = await evaluateTasks(chatAnswerer(model, { maxTokens: flags.maxTokens }), problems, {
        batch: flags.batch,
        signal,
        onAnswer: (_, done, right) =>
          line.update(done, problems.length, `${done} of ${problems.length}, ${percent(right, done)} right`),
      });
    } finally {
      line.end();
    }
    const seconds = (performance.now() - began) / 1000;
    if (flags.json) {
      const { modes, families, marked } = result;
      printJson({
        model: model.name,
        kv: flags.kv,
        device: device.label,
        seconds: Number(seconds.toFixed(3)),
        problems: problems.length,
        ...(flags.file === undefined ? { seed: flags.seed } : { file: basename(flags.file) }),
        maxTokens: flags.maxTokens,
        modes,
        families,
        ...(flags.answers
          ? {
              answers: marked.map(({ problem, answer, isRight }) => ({
                ...problem,
                got: answer.text,
                tokens: answer.tokens,
                isRight,
              })),
            }
          : {}),
      });
    } else {
      print(scoreTable(result, flags.levels === true));
      print(
        `\n${model.name}, ${problems.length} problems in ${seconds.toFixed(0)} s, cache ${flags.kv}, on ${device.label}`,
      );
    }
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
}

async function problemsOf(flags: Flags): Promise<EvaluationProblem[]> {
  const { family: families, seed, file } = flags;
  const modes: readonly Mode[] = flags.mode === "both" ? ["think", "direct"] : [flags.mode];
  if (file === undefined) return drawProblems({ families, modes, perFamily: flags.problems ?? DRAWN, seed });
  try {
    return readProblems(await readText(file, "--file"), basename(file), { families, modes, perFamily: flags.problems });
  } catch (error) {
    throw error instanceof ProblemFileError ? new UsageError(`--file ${error.message}`, { cause: error }) : error;
  }
}

const percent = (right: number, total: number) => `${((100 * right) / total).toFixed(1)} %`;

/** One row a family, the modes side by side; the mean over the families at the end. */
function scoreTable({ modes, families }: TasksResult, withLevels: boolean): string {
  const names = [...new Set(families.map(({ family }) => family))];
  const cells = (score: FamilyScore | undefined) => {
    if (!score) return withLevels ? ["", "", "", ""] : ["", "", ""];
    const { right, total, levels, meanTokens } = score;
    const byLevel = levels.map((level) => `${level.right}/${level.total}`).join(" ");
    return [`${right}/${total}`, percent(right, total), ...(withLevels ? [byLevel] : []), meanTokens.toFixed(0)];
  };
  const head = modes.flatMap(({ mode }) => [mode, "right", ...(withLevels ? ["by level"] : []), "tokens"]);
  const rows = names.map((name) => [
    name,
    ...modes.flatMap(({ mode }) => cells(families.find((one) => one.family === name && one.mode === mode))),
  ]);
  const mean = modes.flatMap(({ right, total, meanOfFamilies, meanTokens }) => [
    `${right}/${total}`,
    percent(meanOfFamilies, 1),
    ...(withLevels ? [""] : []),
    meanTokens.toFixed(0),
  ]);
  return table([["family", ...head], ...rows, [`mean of ${names.length}`, ...mean]]);
}
