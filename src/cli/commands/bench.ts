/** `fulgur bench`: speed, against what the machine could do at best. */
import { Argument, type Command, InvalidArgumentError } from "commander";
import { cacheNames } from "../../cache/index.js";
import type { WeightKind } from "../../ops/index.js";
import { type BenchReport, machine } from "../bench/bench-result.js";
import { peerNames } from "../bench/peers.js";
import { type BenchFlags, type SuiteName, suiteNames, suites } from "../bench/suites.js";
import { profileTable, resultTable } from "../bench/tables.js";
import { catchInterrupts } from "../interrupt.js";
import { addModelOptions, decimal, wholeNumber } from "../model-options.js";
import { isTerminal, print, printJson, say } from "../output.js";

export function define(program: Command): void {
  const about = Object.entries(suites).map(([name, suite]) => `  ${name.padEnd(10)} ${suite.about}`);
  const command = program
    .command("bench")
    .description("Measure speed: medians of several runs, beside the floor that the machine sets.")
    .addArgument(new Argument("[suite]", "what to measure").choices(suiteNames).default("decode"))
    .option("--batch <list>", "decode, lightning: sequences at a time, with commas between", numberList(256))
    .option(
      "--context <list>",
      "decode, attention, m1-slice, kv: tokens that each sequence has before",
      numberList(2 ** 24),
    )
    .option("--lengths <list>", "prefill, attention, lightning: tokens of the prompts", numberList(2 ** 20))
    .option("--positions <n>", "decode, prefill: longest sequence, whatever the model's is", wholeNumber(1, 2 ** 24))
    .option("--sizes <list>", "gemm: n of the products n × n × n", numberList(16384))
    .option("--shape <shape>", "gemv: rows,columns of the matrices (default: 11008,4096); train: mini or 130m", shape)
    .option("--tokens <n>", "train: tokens of a step (default: 16384; off a GPU one row)", wholeNumber(2, 2 ** 20))
    .option("--sequence <list>", "train: tokens of a row (default: 1024)", numberList(2 ** 17))
    .option("--recompute", "train: again with layers recomputed in the backward pass")
    .option("--weights <list>", `gemm, gemv: kinds of weights (${weightKinds.join(", ")})`, nameList(weightKinds))
    .option("--scale <factor>", "m1-slice: width as a part of M1's; kv: part of the layers", decimal(1 / 64, 1), 1)
    .option("--vocab <n>", "m1-slice: entries of the vocabulary (default: 4096)", wholeNumber(32, 2 ** 18))
    .option("--kinds <list>", `kv: cache kinds (${cacheNames.join(", ")})`, nameList(cacheNames))
    .option("--memory-gb <n>", "kv: limit for the largest batch (default: 40)", decimal(0.1, 1000))
    .option("--generate-gib <n>", "load: write so many GiB of random weights and load them", decimal(0.001, 256))
    .option("--runs <n>", "runs that the median is taken of", wholeNumber(1, 1000), 5)
    .option("--against <list>", `peers that take turns with ours: ${peerNames.join(", ")}`, nameList(peerNames))
    .option("--peers <dir>", "folder where the peers are installed (or FULGUR_PEERS)")
    .option("--profile", "decode, prefill, m1-slice, train: show the time of each kernel")
    .option("--json", "print one JSON object");
  addModelOptions(command)
    .addHelpText(
      "after",
      `\nSuites:\n${about.join("\n")}\n\nFloors are bytes or operations that cannot be avoided, at speeds measured in the same run.\n\nExamples:\n  $ npm start --silent -- bench decode --batch 1,4 --context 256\n  $ npm start --silent -- bench gemm --sizes 512 --weights f32 --device cpu`,
    )
    .action(run);
}

const weightKinds = ["f32", "f16", "bf16", "int8", "int4"] as const satisfies readonly WeightKind[];

function numberList(most: number): (text: string) => readonly number[] {
  return (text) => {
    const numbers = text.split(",").map(Number);
    if (!numbers.every((n) => Number.isInteger(n) && n >= 1 && n <= most)) {
      throw new InvalidArgumentError(`expected whole numbers from 1 to ${most} with commas between.`);
    }
    return numbers;
  };
}

function shape(text: string): NonNullable<BenchFlags["shape"]> {
  if (text === "mini" || text === "130m") return text;
  const [rows, columns, ...rest] = numberList(2 ** 20)(text);
  if (rows === undefined || columns === undefined || rest.length > 0) {
    throw new InvalidArgumentError("expected two whole numbers with a comma between, rows,columns; or mini or 130m.");
  }
  return [rows, columns];
}

function nameList<T extends string>(known: readonly T[]): (text: string) => readonly T[] {
  return (text) => {
    const names = text.split(",");
    const isKnown = (name: string): name is T => known.some((one) => one === name);
    if (!names.every(isKnown)) throw new InvalidArgumentError(`expected ${known.join(", ")}, with commas between.`);
    return names as T[]; // checked above
  };
}

async function run(suite: SuiteName, flags: BenchFlags): Promise<void> {
  using interrupts = catchInterrupts();
  const { signal } = interrupts;
  try {
    const context = { flags, signal, say: (text: string) => isTerminal && say(text) };
    const { adapter, subject, results, profiles = [] } = await suites[suite].run(suite, context);
    const report: BenchReport = {
      suite,
      machine: machine(),
      adapter,
      date: new Date().toISOString().slice(0, 10),
      results,
      ...(flags.profile ? { profiles } : {}),
    };
    if (flags.json) {
      printJson(report);
      return;
    }
    const { cpu, cores, node } = report.machine;
    print(`${suite}: ${subject ? `${subject} on ` : ""}${adapter}; ${cpu}, ${cores} cores, Node ${node}\n`);
    print(resultTable(results));
    for (const profile of profiles) print(`\n${profileTable(profile)}`);
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
}
