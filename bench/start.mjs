/**
 * Time from `npm start` to the first token of its sample answer, on a prepared machine (dependencies installed, built):
 *
 *   node bench/run.mjs start [device] [--runs N]
 *
 * A run is `npm start -- start --verbose`, from the moment the command is typed; it is stopped when the first token is there.
 * The parts are what the program says of itself; the rest is npm and the check of the build.
 */
import { spawn, spawnSync } from "node:child_process";
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { root } from "../scripts/prepare.mjs";

const hasNpm = spawnSync("npm", ["--version"], { stdio: "ignore" }).status === 0;

/** One start: seconds until its line about the first token, and what that line says. */
function once(device) {
  return new Promise((resolve, reject) => {
    const options = ["start", "--verbose", "--device", device, "--port", "0"];
    const started = performance.now();
    const [command, args] = hasNpm
      ? ["npm", ["start", "--", ...options]]
      : [process.execPath, [join(root, "scripts", "start.mjs"), ...options]];
    // A group of its own, so that npm's children end with it.
    const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"], detached: true });
    let text = "";
    let end;
    const read = (data) => {
      text += data;
      const line = /^.*First token after (\d+) ms: (.*)\.$/m.exec(text);
      if (!line || end) return;
      end = performance.now();
      process.kill(-child.pid, "SIGTERM");
      const parts = [...line[2].matchAll(/([A-Za-z ]+?) (\d+) ms/g)].map(([, name, ms]) => [
        name.trim(),
        Number(ms) / 1000,
      ]);
      const [, adapter = ""] = / on (.*)$/m.exec(text) ?? [];
      child.once("exit", () => {
        resolve({
          seconds: (end - started) / 1000,
          own: Number(line[1]) / 1000,
          parts,
          adapter,
        });
      });
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("error", reject);
    child.on("exit", () => end ?? reject(new Error(`npm start ended before its first token:\n${text}`)));
  });
}

/** Runs it several times and gives the report. */
export async function measure(device, args) {
  const at = args.indexOf("--runs");
  const runs = at < 0 ? 5 : Number(args[at + 1]);
  await once(device); // files into the system's cache
  const all = [];
  for (let run = 0; run < runs; run++) all.push(await once(device));
  const row = (name, of) => ({ name, device, sizes: {}, seconds: Number(median(all.map(of)).toPrecision(4)) });
  const [{ adapter, parts: first }] = all;
  return {
    suite: "start",
    machine: { cpu: cpus()[0]?.model.trim() ?? "unknown", cores: availableParallelism(), node: process.versions.node },
    adapter,
    date: new Date().toISOString().slice(0, 10),
    results: [
      row("first token", ({ seconds }) => seconds),
      row("npm and the check of the build", ({ seconds, own }) => seconds - own),
      ...first.map(([name]) => row(name, ({ parts }) => parts.find(([other]) => other === name)?.[1] ?? 0)),
    ],
  };
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
