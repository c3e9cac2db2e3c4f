/**
 * Questions about a text in wordings that are never trained, for `eval tasks --file`:
 *
 *   node bench/train/wordings.mjs PROSE.txt[.gz] OUT.jsonl [--problems 100]
 *
 * Eight facts of one kind with some 150 characters of prose after each; one question, with thinking. Family `wordings`.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { readText } from "../../dist/cli/eval/read-text.js";
import { heldOutRetrieval } from "../../dist/train/data/index.js";
import { defaultMaterial } from "../../dist/train/tasks/index.js";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { problems: { type: "string", default: "100" } },
});
const [proseFile, out] = positionals;
if (!proseFile || !out) throw new Error("expected: PROSE OUT.jsonl");
const prose = await readText(proseFile, "PROSE");
const problems = Array.from({ length: Number(values.problems) }, (_, n) => ({
  family: "wordings",
  mode: "think",
  ...heldOutRetrieval(1, n, { facts: 8, spacing: 150, prose, material: defaultMaterial }),
}));
writeFileSync(out, `${problems.map((problem) => JSON.stringify(problem)).join("\n")}\n`);
