/** `fulgur eval recall`: facts out of a long prompt, by length and by distance. */
import { type Command, InvalidArgumentError } from "commander";
import {
  chatAnswerer,
  drawRecall,
  evaluateTasks,
  type RecallProblem,
  type RecallResult,
  recallScores,
} from "../../train/evaluate/index.js";
import { catchInterrupts } from "../interrupt.js";
import { addModelOptions, type ModelOptions, openModel, wholeNumber } from "../model-options.js";
import { InputError, print, printJson, progressLine, table } from "../output.js";
import { readText } from "./read-text.js";

interface Flags extends ModelOptions {
  readonly text: string;
  readonly lengths?: readonly number[];
  readonly problems: number;
  readonly seed: number;
  readonly maxTokens: number;
  readonly batch: number;
  readonly json?: true;
}

const LENGTHS = [500, 1000, 1950, 3600, 7600];
/** The template's tokens around the user's text. */
const FRAME = 24;

export function defineRecall(parent: Command): void {
  const command = parent
    .command("recall")
    .description("Recall over distance: eight facts spread over prose, one question; greedy, exact match.")
    .requiredOption("--text <file>", "prose to spread the facts over, plain or .gz (some 10,000 characters and more)")
    .option(
      "--lengths <tokens>",
      `lengths of the question, with commas between (default: ${LENGTHS.join(",")}, those that fit)`,
      lengthList,
    )
    .option("--problems <n>", "problems of each length", wholeNumber(1), 32)
    .option("--seed <n>", "seed of the problems", wholeNumber(0), 1)
    .option("--max-tokens <n>", "new tokens of an answer at most", wholeNumber(1), 40)
    .option("--batch <n>", "problems at a time", wholeNumber(1, 1024), 8)
    .option("--json", "print one JSON object");
  addModelOptions(command)
    .addHelpText(
      "after",
      "\nExamples:\n  $ npm start --silent -- eval recall --text LICENSE --lengths 300,600 --problems 4\n  $ npm start --silent -- eval recall --text LICENSE --lengths 500 --problems 8 --kv f16 --json",
    )
    .action(run);
}

function lengthList(text: string): readonly number[] {
  return text.split(",").map((part) => {
    const value = Number(part);
    if (part.trim() === "" || !Number.isInteger(value) || value < 1) {
      throw new InvalidArgumentError(`expected whole numbers with commas between, got "${part}".`);
    }
    return value;
  });
}

async function run(flags: Flags): Promise<void> {
  const prose = await readText(flags.text, "--text");
  using interrupts = catchInterrupts();
  const { signal } = interrupts;
  try {
    await using opened = await openModel(flags, { slots: flags.batch, signal });
    const { model, device } = opened;
    const most = model.language.state.maxPositions - FRAME - flags.maxTokens;
    const lengths = flags.lengths ?? LENGTHS.filter((length) => length <= most);
    const long = lengths.find((length) => length > most);
    if (long !== undefined) {
      throw new InputError(
        `--lengths ${long}: ${model.name} takes ${model.language.state.maxPositions} tokens, ${most} of them for the question`,
      );
    }
    const began = performance.now();
    const line = progressLine("Recall");
    let problems: readonly RecallProblem[];
    let result: RecallResult;
    try {
      problems = drawRecall({
        lengths,
        perLength: flags.problems,
        prose,
        countTokens: (text) => model.tokenizer.encode(text).length,
        seed: flags.seed,
      });
      const { marked } = await evaluateTasks(chatAnswerer(model, { maxTokens: flags.maxTokens }), problems, {
        batch: flags.batch,
        signal,
        onAnswer: (_, done, right) =>
          line.update(done, problems.length, `${done} of ${problems.length}, ${percent(right / done)} right`),
      });
      result = recallScores(marked.map((mark, i) => ({ ...mark, problem: problems[i] as RecallProblem })));
    } catch (error) {
      if (error instanceof RangeError) throw new InputError(`--text ${flags.text}: ${error.message}`, { cause: error });
      throw error;
    } finally {
      line.end();
    }
    const seconds = (performance.now() - began) / 1000;
    if (flags.json) {
      printJson({
        model: model.name,
        kv: flags.kv,
        device: device.label,
        seconds: Number(seconds.toFixed(3)),
        seed: flags.seed,
        maxTokens: flags.maxTokens,
        ...result,
      });
      return;
    }
    const row = ({
      meanTokens,
      meanDistance,
      right,
      total,
      accuracy,
    }: RecallResult["lengths"][number] | RecallResult["distances"][number]) => [
      String(meanTokens),
      String(meanDistance),
      `${right}/${total}`,
      percent(accuracy),
    ];
    print(
      table([
        ["length", "tokens", "to the fact", "right", ""],
        ...result.lengths.map((one) => [String(one.length), ...row(one)]),
        ...result.distances.map((one) => [`fact within ${one.upTo}`, ...row(one)]),
      ]),
    );
    print(
      `\n${model.name}, ${problems.length} problems in ${seconds.toFixed(0)} s, cache ${flags.kv}, on ${device.label}`,
    );
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
