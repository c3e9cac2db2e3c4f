import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { define } from "../commands/eval.js";
import { InputError } from "../output.js";
import { readText } from "./read-text.js";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "fulgur-eval-"));
  writeFileSync(join(folder, "plain.txt"), "Grüße\n");
  writeFileSync(join(folder, "packed"), gzipSync("Grüße\n"));
  writeFileSync(join(folder, "damaged.gz"), gzipSync("Grüße\n").subarray(0, 12));
  writeFileSync(join(folder, "latin1.txt"), Buffer.from("Grüße\n", "latin1"));
  writeFileSync(join(folder, "problems.jsonl"), '{"family":"add"}\n');
});
afterAll(() => rmSync(folder, { recursive: true }));

function evaluate(...args: string[]): Promise<Command> {
  const program = new Command("fulgur").exitOverride();
  define(program);
  const quiet = (command: Command): void => {
    command.exitOverride().configureOutput({ writeErr: () => undefined, writeOut: () => undefined });
    command.commands.forEach(quiet);
  };
  quiet(program);
  return program.parseAsync(["eval", ...args], { from: "user" });
}

describe("readText", () => {
  test.each(["plain.txt", "packed"])("%s", async (name) => {
    expect(await readText(join(folder, name), "--text")).toBe("Grüße\n");
  });

  test.each([
    ["none.txt", /^--text .*none\.txt: there is no such file$/],
    ["", /this is a folder/],
    ["damaged.gz", /expected UTF-8 text, plain or gzip-compressed/],
    ["latin1.txt", /expected UTF-8 text/],
  ])("%j is refused", async (name, message) => {
    await expect(readText(join(folder, name), "--text")).rejects.toThrow(InputError);
    await expect(readText(join(folder, name), "--text")).rejects.toThrow(message);
  });
});

describe("wrong use is refused before a model is loaded", () => {
  test.each([
    [["perplexity"], /required option '--text <file>' not specified/],
    [["perplexity", "--text", "no/such/file"], /--text no\/such\/file: there is no such file/],
    [["perplexity", "--text", "x", "--context", "0"], /whole number from 1/],
    [["tasks", "--family", "add,ad"], /there is no family ad; there are add, sub/],
    [["tasks", "--family", "story"], /there is no family story/],
    [["tasks", "--mode", "slow"], /Allowed choices are think, direct, both/],
    [["tasks", "--problems", "0"], /whole number from 1/],
    [["tasks", "--file", "no/such/file"], /--file no\/such\/file: there is no such file/],
  ])("%j", async (args, message) => {
    await expect(evaluate(...args)).rejects.toThrow(message);
  });

  test("a file of problems is read before the model", async () => {
    await expect(evaluate("tasks", "--file", join(folder, "problems.jsonl"))).rejects.toThrow(
      /^--file problems\.jsonl, line 1: mode: /,
    );
  });

  test("a model folder that is not there", async () => {
    await expect(evaluate("tasks", "--model", join(folder, "none"))).rejects.toThrow(
      /--model .*none: there is no such folder/,
    );
  });
});
