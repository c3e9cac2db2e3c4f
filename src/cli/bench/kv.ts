/**
 * `bench kv`: what a cache kind is worth at LLaMA-2-7B's shape, with random float16 weights and, for the kinds that want a
 * calibration file, means of no model: putting them back costs time whatever they are.
 *
 *   decode    tokens a second at each context, filled through the cache's own append with random keys and values
 *   memory    device bytes with a batch of one context's length, and the largest batch within a limit
 *
 * Sizes    32 layers, hidden 4096, 32 heads of 128 (as many key/value heads), inner 11008, vocabulary 32000: 13.5 GB of
 *          weights, 0.5 MiB of 16-bit cache a token. `--scale` takes fewer layers: the layers keep their shape.
 * Floor    bytes of the weights and of the cache as it is stored, over the bandwidth measured in the same run.
 * Source   the setting of RotateKV (arXiv 2501.16383) and AKVQ-VL (2501.15021), as far as they state one.
 */
import { type KvCalibration, SequencePool } from "../../cache/index.js";
import { type Device, OutOfMemoryError } from "../../device/index.js";
import { type LanguageModel, loadWeights } from "../../models/index.js";
import { llama } from "../../models/llama.js";
import { say as note, UsageError } from "../output.js";
import {
  type BenchResult,
  digits,
  isRealGpu,
  type NamedProfile,
  place,
  type SuiteOutput,
  withFloor,
} from "./bench-result.js";
import { DECODE_STEPS, timeDecodeSteps } from "./decode-steps.js";
import { fillCaches } from "./fill-cache.js";
import { randomCheckpoint } from "./random-weights.js";
import { streamBandwidth } from "./roofs.js";
import type { DeviceInput } from "./suites.js";

/** config.json of the shape with a part of its layers. */
function config(layers: number, maxPositions: number) {
  return {
    model_type: "llama",
    num_hidden_layers: layers,
    hidden_size: 4096,
    num_attention_heads: 32,
    num_key_value_heads: 32,
    intermediate_size: 11008,
    vocab_size: 32000,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    max_position_embeddings: maxPositions,
    tie_word_embeddings: false,
  };
}

function meansOfNoModel(layers: number): KvCalibration {
  const means = (phase: number) => Float32Array.from({ length: 4096 }, (_, i) => Math.sin(phase + i * i));
  return {
    fingerprint: "",
    tokens: 0,
    layers: Array.from({ length: layers }, (_, layer) => ({
      meanAllKeys: Float64Array.from(means(layer)),
      meanKeys: means(layer),
      meanValues: means(-1 - layer),
      policy: undefined,
      widths: undefined,
    })),
  };
}

async function build(
  device: Device,
  layers: number,
  maxPositions: number,
  signal: AbortSignal,
): Promise<LanguageModel> {
  const source = "the 7B shape";
  const parsed = llama.parseConfig(config(layers, maxPositions), source);
  const tree = llama.weights(parsed, () => undefined);
  const weights = await loadWeights(device, randomCheckpoint(tree), tree, { source, precision: "f16", signal });
  const language = llama.build(device, parsed, weights);
  return { ...language, state: { ...language.state, calibration: meansOfNoModel(layers) } };
}

const ROOM = DECODE_STEPS + 1;

export async function kvSuite(input: DeviceInput): Promise<SuiteOutput> {
  const { device, flags, signal, say } = input;
  const layers = Math.max(1, Math.round(32 * flags.scale));
  const gigabytes = (0.41 * layers + 0.53).toFixed(1);
  if (layers > 2 && !isRealGpu(device)) {
    throw new UsageError(
      `kv with ${layers} layers needs a GPU with ${gigabytes} GB and more for the weights: elsewhere --scale 0.0625`,
    );
  }
  const kinds = flags.kinds ?? ["f16", "2bit", "rotatekv-2"];
  const contexts = flags.context ?? (isRealGpu(device) ? [4096, 32_768, 98_304] : [512]);
  say("measuring the memory's bandwidth");
  const bandwidth = await streamBandwidth(device, { runs: flags.runs, signal });
  const results: BenchResult[] = [bandwidth];
  const profiles: NamedProfile[] = [];
  say(`making ${gigabytes} GB of random weights`);
  using language = await build(device, layers, Math.max(...contexts) + ROOM, signal);
  for (const kv of kinds) {
    for (const context of contexts) {
      try {
        const one = await decodeAt(input, language, { kv, context, layers, gbs: bandwidth.gbs });
        results.push(one.result);
        if (one.profile) profiles.push(one.profile);
      } catch (error) {
        // The 16-bit cache of a long context may not fit beside the weights: what fits is worth knowing all the same.
        if (!(error instanceof OutOfMemoryError)) throw error;
        note(`${kv}, context ${context}: left out, ${error.message}`);
      }
    }
    results.push(...(await memory(input, language, { kv, context: Math.min(...contexts), layers })));
  }
  return { results, profiles };
}

interface Setting {
  readonly kv: string;
  readonly context: number;
  readonly layers: number;
}

async function decodeAt(
  { device, flags, signal, say }: DeviceInput,
  language: LanguageModel,
  { kv, context, layers, gbs }: Setting & { readonly gbs: number },
): Promise<{ readonly result: BenchResult; readonly profile: NamedProfile | undefined }> {
  const { runs } = flags;
  say(`${kv}: filling ${context} tokens of context`);
  using pool = new SequencePool(device, language.state, { slots: 1, kv, maxTokens: context + ROOM });
  using sequence = pool.open();
  sequence.reserve(context + ROOM);
  await fillCaches(device, pool, sequence, context, signal);
  say(`${kv}: ${runs} runs of ${DECODE_STEPS} steps`);
  const options = { runs, signal, context, profile: flags.profile === true };
  const { seconds, profile } = await timeDecodeSteps(language, pool, [sequence], options);
  // Embedding rows are only looked up.
  const { hiddenSize, vocabSize } = { hiddenSize: 4096, vocabSize: language.vocabSize };
  const cacheBytes = Math.round((pool.bytes * context) / sequence.capacity);
  const bytes = language.weightBytes - 2 * hiddenSize * vocabSize + cacheBytes;
  const sizes = { layers, context, kv, cacheBytes };
  return {
    result: {
      name: "decode",
      ...place(device),
      sizes,
      ...withFloor(seconds, bytes / (gbs * 1e9)),
      gbs: digits(bytes / seconds / 1e9),
      tokensPerSecond: digits(1 / seconds),
    },
    profile: profile && {
      name: `decode, ${DECODE_STEPS} steps`,
      sizes,
      seconds: seconds * DECODE_STEPS,
      kernels: profile.entries,
      gbs,
    },
  };
}

/** Caches are allocated in earnest: the batch that the first sequence foretells, then more or fewer until the limit is met. */
async function memory(
  { device, flags, signal, say }: DeviceInput,
  language: LanguageModel,
  { kv, context, layers }: Setting,
): Promise<BenchResult[]> {
  const limit = (flags.memoryGb ?? (isRealGpu(device) ? 40 : 2)) * 1e9;
  say(`${kv}: batches of ${context} tokens within ${limit / 1e9} GB`);
  const began = performance.now();
  const bytesOf = async (batch: number): Promise<number> => {
    signal.throwIfAborted();
    try {
      using pool = new SequencePool(device, language.state, { slots: batch, kv, maxTokens: context });
      for (let i = 0; i < batch; i++) pool.open().reserve(context);
      await device.idle();
      return device.memory.live;
    } catch (error) {
      if (error instanceof OutOfMemoryError) return Number.POSITIVE_INFINITY;
      throw error;
    }
  };
  const one = await bytesOf(1);
  let batch = Math.max(1, Math.floor((limit - language.weightBytes) / (one - language.weightBytes)));
  let bytes = await bytesOf(batch);
  while (batch > 1 && bytes > limit) bytes = await bytesOf(--batch);
  for (;;) {
    const next = await bytesOf(batch + 1);
    if (next > limit) break;
    [batch, bytes] = [batch + 1, next];
  }
  const sizes = {
    layers,
    context,
    kv,
    weightBytes: language.weightBytes,
    bytesOfOne: one,
    limitBytes: limit,
    largestBatch: bytes > limit ? 0 : batch,
  };
  return [{ name: "memory", ...place(device), sizes, seconds: digits((performance.now() - began) / 1000) }];
}
