/**
 * `bench load`: from nothing to the first token, in parts; peak memory of the device and of the process.
 *
 *   open device → read and upload → first prompt → first step = first token
 *
 * Kernels are compiled when they are first used: "compile" is what the first prompt and step take longer than the second.
 * The floor of reading is the same files read again and thrown away (after the load, so from the system's cache).
 * `--generate-gib` writes a checkpoint of random weights to the temporary folder first, and removes it at the end.
 */
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Sequence, SequencePool } from "../../cache/index.js";
import { openCheckpoint, openFolder, writeSafetensors } from "../../formats/index.js";
import { writeFileAtomic } from "../../formats/node/index.js";
import { type LanguageModel, loadLanguageModel } from "../../models/index.js";
import { miniMaxM1 } from "../../models/minimax-m1.js";
import { openDevice } from "../model-options.js";
import { InputError, UsageError } from "../output.js";
import { type BenchResult, digits, place, withFloor } from "./bench-result.js";
import { decodeBatch } from "./decode-steps.js";
import { sliceConfig } from "./m1-slice.js";
import { feed, promptIds } from "./prompts.js";
import { randomCheckpoint } from "./random-weights.js";
import type { Outcome, SuiteContext } from "./suites.js";

const PROMPT_TOKENS = 32;
const MIB = 2 ** 20;

export async function loadSuite(context: SuiteContext): Promise<Outcome> {
  const { flags, say } = context;
  if (flags.against) throw new UsageError("--against: no peer takes part in load");
  const { generateGib } = flags;
  if (generateGib === undefined) {
    if (!/^https?:/.test(flags.model) && !existsSync(flags.model)) {
      throw new InputError(`--model ${flags.model}: there is no such folder`);
    }
    return timeLoading(flags.model, context);
  }
  const folder = await mkdtemp(join(tmpdir(), "fulgur-bench-"));
  try {
    say(`writing ${generateGib} GiB of random weights to ${folder}`);
    await writeRandomModel(folder, generateGib * 2 ** 30, context.signal);
    return await timeLoading(folder, context);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A folder with config.json and model.safetensors of about `bytes` bytes: M1's layers, narrower. */
export async function writeRandomModel(folder: string, bytes: number, signal: AbortSignal): Promise<void> {
  const scale = bytes > 2 ** 28 ? 1 / 6 : 1 / 16;
  const configOf = (count: number) => {
    const layers = Array.from({ length: count }, (_, l) => (l % 4 === 3 ? 1 : 0) as 0 | 1); // one of the two
    return sliceConfig({ scale, vocab: 4096, maxPositions: 4096, layers });
  };
  const checkpointOf = (count: number) => {
    const config = miniMaxM1.parseConfig(configOf(count), "random model");
    return randomCheckpoint(miniMaxM1.weights(config, () => undefined));
  };
  const [four, eight] = [checkpointOf(4).totalBytes, checkpointOf(8).totalBytes];
  const layers = Math.max(1, Math.round((bytes - (2 * four - eight)) / ((eight - four) / 4)));
  const checkpoint = checkpointOf(layers);
  const tensors = [...checkpoint.entries.values()].map(({ name, dtype, shape }) => ({
    name,
    dtype,
    shape,
    bytes: () => checkpoint.read(name),
  }));
  await writeFileAtomic(join(folder, "model.safetensors"), (sink) => writeSafetensors(sink, tensors, {}, { signal }), {
    signal,
  });
  await writeFile(join(folder, "config.json"), JSON.stringify(configOf(layers)));
}

async function timeLoading(where: string, context: SuiteContext): Promise<Outcome> {
  const { flags, signal, say } = context;
  const hostBefore = process.resourceUsage().maxRSS * 1024;
  const parts: { name: string; seconds: number }[] = [];
  const timed = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    const began = performance.now();
    const result = await work();
    parts.push({ name, seconds: (performance.now() - began) / 1000 });
    return result;
  };

  say("loading");
  await using device = await timed("open device", () => openDevice(flags));
  const options = { signal, precision: flags.precision === "f32" ? ("f32" as const) : ("f16" as const) };
  const folder = await openFolder(where);
  using language = await timed("read and upload", async () => {
    const loaded = await loadLanguageModel(device, folder, options);
    await device.idle();
    return loaded;
  });
  const room = PROMPT_TOKENS + 2;
  using pool = new SequencePool(device, language.state, { slots: 2, kv: flags.kv, maxTokens: room });
  const first = await timed("first prompt", () => prompt(language, pool, room));
  await timed("first step", () => step(language, pool, first));
  const toFirstToken = [...parts];
  const devicePeak = device.memory.peak;
  const hostPeak = process.resourceUsage().maxRSS * 1024;

  const again = await timed("prompt, compiled", () => prompt(language, pool, room));
  await timed("step, compiled", () => step(language, pool, again));
  const files = await readAlone(where, signal);
  await folder.close();

  const secondsOf = (name: string) => parts.find((part) => part.name === name)?.seconds ?? 0;
  const compile =
    Math.max(0, secondsOf("first prompt") - secondsOf("prompt, compiled")) +
    Math.max(0, secondsOf("first step") - secondsOf("step, compiled"));
  const at = place(device);
  const result = (name: string, seconds: number, sizes: BenchResult["sizes"] = {}): BenchResult => ({
    name,
    ...at,
    sizes,
    seconds: digits(seconds),
  });
  const mib = (bytes: number) => digits(bytes / MIB);
  const load = secondsOf("read and upload");
  const sum = toFirstToken.reduce((total, { seconds }) => total + seconds, 0);
  return {
    adapter: device.label,
    subject: where,
    results: [
      { ...result("read files alone", files.seconds, { MiB: mib(files.bytes) }), gbs: gbs(files.bytes, files.seconds) },
      result("open device", secondsOf("open device")),
      {
        ...result("read and upload", load, { MiB: mib(files.bytes) }),
        ...withFloor(load, files.seconds),
        gbs: gbs(files.bytes, load),
      },
      result("compile", compile),
      result("prompt", secondsOf("prompt, compiled"), { tokens: PROMPT_TOKENS }),
      result("step", secondsOf("step, compiled")),
      result("first token in all", sum, {
        deviceMiB: mib(devicePeak),
        hostMiB: mib(hostPeak),
        hostBeforeMiB: mib(hostBefore),
      }),
    ],
  };
}

const gbs = (bytes: number, seconds: number) => digits(bytes / seconds / 1e9);

async function prompt(language: LanguageModel, pool: SequencePool, room: number): Promise<Sequence> {
  const sequence = pool.open();
  sequence.reserve(room);
  feed(language, pool, sequence, promptIds(PROMPT_TOKENS, language.vocabSize));
  await language.device.idle();
  return sequence;
}

async function step(language: LanguageModel, pool: SequencePool, sequence: Sequence): Promise<void> {
  using batch = decodeBatch(language, pool, [sequence], PROMPT_TOKENS);
  await batch.run(1);
}

async function readAlone(where: string, signal: AbortSignal): Promise<{ bytes: number; seconds: number }> {
  const folder = await openFolder(where);
  try {
    await using checkpoint = await openCheckpoint(folder, signal);
    const began = performance.now();
    for (const name of checkpoint.entries.keys()) {
      for await (const _ of checkpoint.stream(name, { signal })) signal.throwIfAborted();
    }
    return { bytes: checkpoint.totalBytes, seconds: (performance.now() - began) / 1000 };
  } finally {
    await folder.close();
  }
}
