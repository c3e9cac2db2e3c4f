import { Command } from "commander";
import { describe, expect, test } from "vitest";
import { addGenerationOptions, chatOptions, type GenerationFlags } from "./generation-options.js";
import { addServingOptions, type ServingFlags } from "./serving.js";

const commands = ["start", "chat", "generate", "serve", "tokenise"] as const;

/** Commander writes and exits by itself: caught here. */
function quiet(command: Command, take: (text: string) => void = () => undefined): Command {
  return command.exitOverride().configureOutput({ writeOut: take, writeErr: take });
}

describe.each(commands)("fulgur %s", (name) => {
  test("--help ends with two examples", async () => {
    const program = new Command("fulgur");
    const { define }: { define(program: Command): void } = await import(`./commands/${name}.ts`);
    define(program);
    let help = "";
    const [command] = program.commands;
    if (!command) throw new Error("no command was defined");
    quiet(command, (text) => {
      help += text;
    }).outputHelp();
    expect(help.trimEnd().split("\n").slice(-3)).toEqual([
      "Examples:",
      expect.stringMatching(/^ {2}\$ .*npm start/),
      expect.stringMatching(/^ {2}\$ .*npm start/),
    ]);
  });
});

describe("options", () => {
  const parse = (args: readonly string[]) => {
    const command = quiet(addGenerationOptions(new Command()));
    command.parse(args, { from: "user" });
    return chatOptions(command.opts<GenerationFlags>());
  };

  test("what is not given is left to the model", () => {
    expect(parse([])).toEqual({});
  });

  test("all reach the library under their names", () => {
    const args =
      "--max-tokens 5 --temperature 0.5 --top-k 40 --top-p 0.9 --min-p 0.1 --repetition-penalty 1.1 --seed 3 --stop a --stop b --thinking-budget 16 --no-think";
    expect(parse(args.split(" "))).toEqual({
      maxTokens: 5,
      temperature: 0.5,
      topK: 40,
      topP: 0.9,
      minP: 0.1,
      repetitionPenalty: 1.1,
      seed: 3,
      stop: ["a", "b"],
      thinkingBudget: 16,
      enableThinking: false,
    });
    expect(parse(["--think"])).toEqual({ enableThinking: true });
  });

  test.each([
    [["--top-p", "0"], "expected a number above 0 and at most 1."],
    [["--max-tokens", "0"], "expected a whole number from 1."],
    [["--stop", ""], "expected text that is not empty."],
  ])("%j is refused", (args, message) => {
    expect(() => parse(args)).toThrow(message);
  });

  test("--cors takes an origin or *", () => {
    const origin = (text: string) => {
      const command = quiet(addServingOptions(new Command(), 8080));
      command.parse(["--cors", text], { from: "user" });
      return command.opts<ServingFlags>().cors;
    };
    expect(origin("*")).toBe("*");
    expect(origin("https://example.org/")).toBe("https://example.org");
    expect(() => origin("example.org")).toThrow("expected * or an origin such as https://example.org.");
    expect(() => origin("https://example.org/page")).toThrow("expected * or an origin");
  });
});
