/** `fulgur bench`: speed, against what the machine could do at best. */
import { Argument, type Command, InvalidArgumentError } from "commander";
import { type BenchReport, machine } from "../bench/bench-result.js";
import { type BenchFlags, type SuiteName, suiteNames, suites } from "../bench/suites.js";
import { profileTable, resultTable } from "../bench/tables.js";
import { catchInterrupts } from "../interrupt.js";
import { addModelOptions, openModel, wholeNumber } from "../model-options.js";
import { isTerminal, print, printJson, say } from "../output.js";

export function define(program: Command): void {
  const command = program
    .command("bench")
    .description("Measure speed: medians of several runs, beside the floor that the machine sets.")
    .addArgument(new Argument("[suite]", "what to measure").choices(suiteNames).default("decode"))
    .option("--batch <list>", "decode: sequences at a time, with commas between", numberList(256), [1, 2, 4, 8])
    .option("--context <n>", "decode: tokens that each sequence has before", wholeNumber(1), 512)
    .option("--lengths <list>", "prefill: tokens of the prompts, with commas between", numberList(2 ** 20), [512, 2048])
    .option("--runs <n>", "runs that the median is taken of", wholeNumber(1, 1000), 5)
    .option("--profile", "show the time of each kernel")
    .option("--json", "print one JSON object");
  addModelOptions(command)
    .addHelpText(
      "after",
      "\nThe floor of a decode step is the time to read the weights, caches and states once, that of a prompt the time for its\nproducts; both at speeds measured in the same run.\n\nExamples:\n  $ npm start --silent -- bench decode --batch 1,4 --context 256\n  $ npm start --silent -- bench prefill --lengths 512 --device cpu --profile",
    )
    .action(run);
}

function numberList(most: number): (text: string) => readonly number[] {
  return (text) => {
    const numbers = text.split(",").map(Number);
    if (!numbers.every((n) => Number.isInteger(n) && n >= 1 && n <= most)) {
      throw new InvalidArgumentError(`expected whole numbers from 1 to ${most} with commas between.`);
    }
    return numbers;
  };
}

async function run(suite: SuiteName, flags: BenchFlags): Promise<void> {
  using interrupts = catchInterrupts();
  const { signal } = interrupts;
  try {
    await using opened = await openModel(flags, { slots: 1, signal });
    const { model, device } = opened;
    const { results, profiles } = await suites[suite]({
      model,
      flags,
      signal,
      say: (text) => isTerminal && say(text),
    });
    const report: BenchReport = {
      suite,
      machine: machine(),
      adapter: device.label,
      date: new Date().toISOString().slice(0, 10),
      results,
      ...(flags.profile ? { profiles } : {}),
    };
    if (flags.json) {
      printJson(report);
      return;
    }
    const { cpu, cores, node } = report.machine;
    print(`${suite}: ${model.name} on ${report.adapter}; ${cpu}, ${cores} cores, Node ${node}\n`);
    print(resultTable(results));
    for (const profile of profiles) print(`\n${profileTable(profile)}`);
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
}
