/** `fulgur train` as a process: killed at any moment it goes on with the same bits; Ctrl-C finishes the step and saves. */
import { type ChildProcess, spawn } from "node:child_process";
import { watch } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { checkpointSteps } from "../src/train/node/checkpoint-folders.js";
import { readMetrics } from "../src/train/node/metrics.js";
import { Random } from "../src/train/tasks/index.js";
import { tinyConfig } from "./tiny-training.js";

const main = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));

let dir = "";
let config = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "fulgur-train-"));
  config = join(dir, "config.json");
  await writeFile(
    config,
    JSON.stringify({
      model: { config: { ...tinyConfig, vocab_size: 264 }, tokenizer: "bytes" },
      data: { sources: [{ exercises: { families: ["parity", "copy"] } }] },
      steps: 10,
      batch: { tokens: 64, sequence: 64 },
      optimiser: { learningRate: 0.01 },
      checkpoints: { every: 1, keep: 2 },
    }),
  );
});
afterEach(() => rm(dir, { recursive: true }));

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly talk: string;
}

function start(out: string, ...more: string[]): { readonly child: ChildProcess; readonly ended: Promise<Ended> } {
  const args = [main, "train", config, "--device", "cpu", "--threads", "2", "--out", out, ...more];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  let talk = "";
  child.stderr?.on("data", (text: Buffer) => {
    talk += text.toString();
  });
  const ended = new Promise<Ended>((resolve) => {
    child.on("close", (code, signal) => resolve({ code, signal, talk }));
  });
  return { child, ended };
}

/** Calls `f` at the folder's `count`-th change: a line of metrics, a checkpoint begun, renamed, removed. */
async function atChange(out: string, count: number, f: () => void): Promise<() => void> {
  await mkdir(out, { recursive: true });
  let left = count;
  const watcher = watch(out, () => {
    left -= 1;
    if (left === 0) f();
  });
  return () => watcher.close();
}

const losses = async (out: string) => (await readMetrics(out)).map(({ step, loss }) => [step, loss]);

test("killed three times at random moments, it gives the same losses", { timeout: 180_000 }, async () => {
  const whole = join(dir, "whole");
  expect(await start(whole).ended).toMatchObject({ code: 0 });
  const wanted = await losses(whole);
  expect(wanted).toHaveLength(10);

  const out = join(dir, "killed");
  const random = new Random(String(process.pid));
  const moments: number[] = [];
  for (let kill = 0; kill < 3; kill++) {
    const moment = random.int(3, 25);
    moments.push(moment);
    const { child, ended } = start(out, "--resume");
    const stop = await atChange(out, moment, () => child.kill("SIGKILL"));
    await ended;
    stop();
  }
  // All steps may be made before the last kill.
  const [newest = 0] = (await checkpointSteps(out)).slice(-1);
  if (newest < 10) expect((await start(out, "--resume").ended).code, `killed at changes ${moments}`).toBe(0);
  expect(await losses(out), `killed at changes ${moments}`).toEqual(wanted);
  const left = (await readdir(out)).filter((name) => name.startsWith(".") || name.endsWith(".tmp"));
  if (newest < 10) expect(left).toEqual([]);
});

test("adapters of a trained model, resumed and merged", { timeout: 120_000 }, async () => {
  const base = join(dir, "base");
  expect(await start(base, "--steps", "1").ended).toMatchObject({ code: 0 });
  const model = join(base, "step-000001");
  const json = JSON.parse(await readFile(config, "utf8")) as object;
  const lora = { rank: 2, targets: ["q_proj", "w1"], merge: true };
  await writeFile(config, JSON.stringify({ ...json, model, lora, schedule: { kind: "constant" } }));
  const whole = join(dir, "whole");
  expect(await start(whole, "--steps", "4").ended).toMatchObject({ code: 0 });
  const out = join(dir, "parts");
  expect(await start(out, "--steps", "2").ended).toMatchObject({ code: 0 });
  const again = await start(out, "--steps", "4").ended;
  expect(again.code).toBe(2);
  expect(again.talk).toContain("is there already: give --resume");
  expect(await start(out, "--steps", "4", "--resume").ended).toMatchObject({ code: 0 });
  const last = join(out, "step-000004");
  const same = async (a: string, b: string) => (await readFile(a)).equals(await readFile(b));
  const file = "adapter_model.safetensors";
  expect(await same(join(last, file), join(whole, "step-000004", file))).toBe(true);
  expect(await same(join(last, "model.safetensors"), join(model, "model.safetensors"))).toBe(false);
  expect(JSON.parse(await readFile(join(last, "adapter_config.json"), "utf8"))).toMatchObject({
    r: 2,
    peft_type: "LORA",
  });
});

test("Ctrl-C finishes the step and saves", { timeout: 60_000 }, async () => {
  const out = join(dir, "interrupted");
  const { child, ended } = start(out, "--steps", "100000");
  const stop = await atChange(out, 12, () => child.kill("SIGINT"));
  const { code, talk } = await ended;
  stop();
  expect(code).toBe(130);
  const [newest = 0] = (await checkpointSteps(out)).slice(-1);
  expect(newest).toBeGreaterThan(0);
  expect(talk).toContain(`Interrupted after step ${newest} of 100000. --resume goes on from ${out}/step-`);
  expect((await losses(out)).at(-1)?.[0]).toBe(newest);
});
