import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, expect, test } from "vitest";
import { define } from "./commands/quantize.js";
import { InputError, UsageError } from "./output.js";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "fulgur-quantize-"));
  cpSync(new URL("../../test/fixtures/models/qwen3_moe", import.meta.url), join(root, "model"), { recursive: true });
});
afterEach(() => rmSync(root, { recursive: true }));

function quantize(out: string): Promise<unknown> {
  const program = new Command("fulgur").exitOverride();
  define(program);
  return program.parseAsync(["quantize", "--model", join(root, "model"), "--out", join(root, out)], { from: "user" });
}

test("a link to the model's own folder is refused, and the weights stay", async () => {
  const weights = join(root, "model", "model.safetensors");
  const before = readFileSync(weights);
  symlinkSync(join(root, "model"), join(root, "link"));
  await expect(quantize("link")).rejects.toThrow(UsageError);
  expect(readFileSync(weights).equals(before)).toBe(true);
});

test("a file where the folder should be made", async () => {
  writeFileSync(join(root, "taken"), "");
  await expect(quantize("taken")).rejects.toThrow(InputError);
});
