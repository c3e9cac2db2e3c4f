/**
 * `bench load`: from nothing to the first token, in parts; peak memory of the device and of the process.
 *
 *   open device → read and upload, beside it compile → first prompt → first step = first token
 *
 * On WebGPU "compile" goes on while the weights stream; "wait for compiler" is what is left of it then. The floor of loading
 * is the slower of: the same files read again and thrown away (from the system's cache); on the CPU the same into memory
 * that nobody has touched yet; on WebGPU as many bytes uploaded from nowhere.
 * `--generate-gib` writes a checkpoint of random weights to the temporary folder first, and removes it at the end.
 */
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Sequence, SequencePool } from "../../cache/index.js";
import { type Device, LENT_BYTES } from "../../device/index.js";
import { type Folder, openCheckpoint, openFolder, writeSafetensors } from "../../formats/index.js";
import { writeFileAtomic } from "../../formats/node/index.js";
import { rehearse } from "../../generate/rehearse.js";
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

/** A short question, as `rehearse` expects it. */
const PROMPT_TOKENS = 16;
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
  const spent = new Map<string, number>();
  const timed = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    const began = performance.now();
    const result = await work();
    spent.set(name, (performance.now() - began) / 1000);
    return result;
  };

  say("loading");
  const began = performance.now();
  await using device = await timed("open device", () => openDevice(flags));
  const folder = await openFolder(where);
  const room = PROMPT_TOKENS + 2;
  let pool = undefined as SequencePool | undefined; // set by the callback
  let compiling = Promise.resolve();
  const options = {
    signal,
    precision: flags.precision === "f32" ? ("f32" as const) : ("f16" as const),
    onAllocated(model: LanguageModel) {
      const own = new SequencePool(device, model.state, { slots: 2, kv: flags.kv, maxTokens: room });
      pool = own;
      if (device.kind === "webgpu") compiling = timed("compile", () => rehearse(model, own));
      compiling.catch(() => undefined); // told when it is waited for
    },
  };
  using language = await timed("read and upload", async () => {
    const loaded = await loadLanguageModel(device, folder, options);
    await device.idle();
    return loaded;
  });
  await timed("wait for compiler", () => compiling);
  if (!pool) throw new Error("internal: a model was loaded without being allocated");
  using own = pool;
  const first = await timed("first prompt", () => prompt(language, own, room));
  await timed("first step", () => step(language, own, first));
  const inAll = (performance.now() - began) / 1000;
  const devicePeak = device.memory.peak;
  const hostPeak = process.resourceUsage().maxRSS * 1024;

  const again = await timed("prompt again", () => prompt(language, own, room));
  await timed("step again", () => step(language, own, again));
  const bytes = await bytesOf(folder, signal);
  await timed("read files alone", () => readAlone(folder, "kept", signal));
  const roofs = ["read files alone", await otherRoof(device, folder, bytes, timed, signal)];
  await folder.close();

  const at = place(device);
  const seconds = (name: string) => spent.get(name) ?? 0;
  const mib = (count: number) => digits(count / MIB);
  const row = (name: string, sizes: BenchResult["sizes"] = {}): BenchResult => ({
    name,
    ...at,
    sizes,
    seconds: digits(seconds(name)),
  });
  const moved = (name: string) => ({ ...row(name, { MiB: mib(bytes) }), gbs: digits(bytes / seconds(name) / 1e9) });
  const load = seconds("read and upload");
  return {
    adapter: device.label,
    subject: where,
    results: [
      ...roofs.map(moved),
      row("open device"),
      { ...moved("read and upload"), ...withFloor(load, Math.max(...roofs.map(seconds))) },
      ...(device.kind === "webgpu" ? [row("compile"), row("wait for compiler")] : []),
      row("first prompt", { tokens: PROMPT_TOKENS }),
      row("first step"),
      row("prompt again", { tokens: PROMPT_TOKENS }),
      row("step again"),
      {
        ...row("first token in all", {
          deviceMiB: mib(devicePeak),
          hostMiB: mib(hostPeak),
          hostBeforeMiB: mib(hostBefore),
        }),
        seconds: digits(inAll),
      },
    ],
  };
}

type Timed = <T>(name: string, work: () => Promise<T>) => Promise<T>;

/**
 * What else bounds loading, by name: on the CPU memory that nobody has touched yet, which the system must provide page by
 * page; on a GPU the way of the bytes to it.
 */
async function otherRoof(
  device: Device,
  folder: Folder,
  bytes: number,
  timed: Timed,
  signal: AbortSignal,
): Promise<string> {
  if (device.kind === "webgpu") {
    const byteLength = Math.min(LENT_BYTES, bytes - (bytes % 4));
    const allocation = device.allocate(byteLength, "upload roof");
    const slice = { allocation, byteOffset: 0, byteLength };
    await timed("upload alone", async () => {
      const pieces = Array.from({ length: Math.ceil(bytes / byteLength) }, () => device.receive(slice, async () => {}));
      await Promise.all(pieces);
      await device.idle();
    });
    device.free(allocation);
    return "upload alone";
  }
  await timed("read into fresh memory", () => readAlone(folder, "fresh", signal));
  return "read into fresh memory";
}

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

async function bytesOf(folder: Folder, signal: AbortSignal): Promise<number> {
  await using checkpoint = await openCheckpoint(folder, signal);
  return checkpoint.totalBytes;
}

/** Reads all tensors as the loader does, some pieces at a time, into memory that is used again or is new each time. */
async function readAlone(folder: Folder, memory: "kept" | "fresh", signal: AbortSignal): Promise<void> {
  await using checkpoint = await openCheckpoint(folder, signal);
  function* pieces() {
    for (const { name, byteLength } of checkpoint.entries.values()) {
      for (let at = 0; at < byteLength; at += LENT_BYTES) {
        yield { name, at, length: Math.min(LENT_BYTES, byteLength - at) };
      }
    }
  }
  const all = pieces();
  const reader = async () => {
    const kept = new Uint8Array(LENT_BYTES);
    for (const { name, at, length } of all) {
      const target = memory === "kept" ? kept.subarray(0, length) : new Uint8Array(new SharedArrayBuffer(length));
      await checkpoint.readInto(name, target, at, signal);
    }
  };
  await Promise.all(Array.from({ length: 4 }, reader));
}
