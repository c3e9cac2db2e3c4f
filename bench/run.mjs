/**
 * Runs a benchmark suite and keeps its result:
 *
 *   node bench/run.mjs [suite] [device] [--as NAME] [options of `fulgur bench`]
 *
 * writes bench/SUITE-DEVICE.json, or bench/SUITE-DEVICE-NAME.json. `node bench/run.mjs all [device]` runs the suites of
 * kernels, decode, prefill and load, each with its defaults. Options of Node itself
 * (`node --experimental-wasm-relaxed-simd bench/run.mjs …`) are handed on. Two more are programs of their own:
 *
 *   node bench/run.mjs start [device]       from `npm start` to the first token (start.mjs)
 *   node bench/run.mjs chromium wllama      our page beside wllama, in Chromium (peers/wllama.mjs)
 *
 * For figures that are worth keeping the machine must have nothing else to do.
 */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { join } from "node:path";
import { checkNode, ensureBuild, ensureDependencies, root, say } from "../scripts/prepare.mjs";

const everywhere = ["gemm", "gemv", "attention", "lightning", "decode", "prefill", "load"];

const [suite = "decode", device = "cpu", ...rest] = process.argv.slice(2);
const at = rest.indexOf("--as");
const [, as] = at < 0 ? [] : rest.splice(at, 2);
checkNode();
ensureDependencies();
ensureBuild();
const [load] = loadavg();
if (load > 0.5) say(`The machine is busy (load ${load.toFixed(1)}): the figures will be too low.`);
if (suite === "start")
  await import("./start.mjs").then(({ measure }) => measure(device, rest)).then(keepAs("start", device));
else if (suite === "chromium") {
  await import(`./peers/${device}.mjs`).then(({ compare }) => compare(rest)).then(keepAs("decode-chromium", device));
} else for (const one of suite === "all" ? everywhere : [suite]) run(one);

function run(name) {
  const main = join(root, "dist", "cli", "main.js");
  const { status, stdout } = spawnSync(
    process.execPath,
    [...process.execArgv, main, "bench", name, "--device", device, ...rest, "--json"],
    // Without a terminal there is no talk; a line of JSON may be long.
    { stdio: ["ignore", "pipe", "inherit"], encoding: "utf8", maxBuffer: 2 ** 28 },
  );
  if (status !== 0) process.exit(status ?? 1);

  keepAs(name, device)(JSON.parse(stdout));
}

/** Keeps a report in bench/. */
function keepAs(name, device) {
  return ({ results, profiles, ...head }) => {
    // One line a result: such files are compared line by line.
    const lines = (items) => items.map((item) => `    ${JSON.stringify(item)}`).join(",\n");
    const keys = Object.entries(head).map(([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)}`);
    const lists = [`  "results": [\n${lines(results)}\n  ]`];
    if (profiles) lists.push(`  "profiles": [\n${lines(profiles)}\n  ]`);
    const file = join("bench", `${[name, device, ...(as ? [as] : [])].join("-")}.json`);
    writeFileSync(join(root, file), `{\n${[...keys, ...lists].join(",\n")}\n}\n`);
    say(`${file}: ${results.length} results`);
  };
}
