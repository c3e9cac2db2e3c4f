/**
 * Runs a benchmark suite and keeps its result:
 *
 *   node bench/run.mjs [suite] [device] [options of `fulgur bench`]     writes bench/SUITE-DEVICE.json
 *
 * For figures that are worth keeping the machine must have nothing else to do.
 */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { join } from "node:path";
import { checkNode, ensureBuild, ensureDependencies, root, say } from "../scripts/prepare.mjs";

const [suite = "decode", device = "cpu", ...options] = process.argv.slice(2);
checkNode();
ensureDependencies();
ensureBuild();
const [load] = loadavg();
if (load > 0.5) say(`The machine is busy (load ${load.toFixed(1)}): the figures will be too low.`);

const main = join(root, "dist", "cli", "main.js");
const { status, stdout } = spawnSync(
  process.execPath,
  [main, "bench", suite, "--device", device, ...options, "--json"],
  {
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
  },
);
if (status !== 0) process.exit(status ?? 1);

const { results, ...head } = JSON.parse(stdout);
// One line a result: such files are compared line by line.
const lines = results.map((result) => `    ${JSON.stringify(result)}`);
const keys = Object.entries(head).map(([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)}`);
const file = join("bench", `${suite}-${device}.json`);
writeFileSync(join(root, file), `{\n${keys.join(",\n")},\n  "results": [\n${lines.join(",\n")}\n  ]\n}\n`);
say(`${file}: ${results.length} results`);
