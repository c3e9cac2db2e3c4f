/**
 * `bench m1-slice`: four layers as wide as MiniMax-M1's, random float16 weights, decode steps at long contexts.
 *
 *   hybrid    three lightning layers and one softmax layer
 *   softmax   four softmax layers: what the same slice would cost without lightning attention
 *
 * Sizes    hidden 6144, 64 heads of 128, 8 key/value heads, 64 rotary channels, 8 experts of 9216, top 2 (the real model
 *          has 32 experts and 80 layers); about 12.6 GB of weights. `--scale` makes everything smaller, heads keep their size.
 * Contexts are filled through the caches' append with random keys and values.
 * Floor    bytes of the touched weights, of caches and states, over the bandwidth measured in the same run.
 */
import { cacheKind, SequencePool } from "../../cache/index.js";
import { type Device, OutOfMemoryError } from "../../device/index.js";
import { type LanguageModel, loadWeights } from "../../models/index.js";
import { miniMaxM1 } from "../../models/minimax-m1.js";
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
import { decodeStepBytes, sharesOf, type WeightShares } from "./step-bytes.js";
import type { DeviceInput } from "./suites.js";

const variants = {
  hybrid: [0, 0, 0, 1],
  softmax: [1, 1, 1, 1],
} as const;

export interface SliceOptions {
  /** 1: M1's width. */
  readonly scale: number;
  readonly vocab: number;
  readonly maxPositions: number;
  /** 0 lightning, 1 softmax, as in config.json. */
  readonly layers: readonly (0 | 1)[];
}

/** config.json of the slice. */
export function sliceConfig({ scale, vocab, maxPositions, layers }: SliceOptions) {
  const part = (full: number, multiple: number) => Math.max(1, Math.round((full * scale) / multiple)) * multiple;
  const kvHeads = part(8, 1);
  return {
    model_type: "minimax_m1",
    num_hidden_layers: layers.length,
    hidden_size: part(6144, 32),
    num_attention_heads: 8 * kvHeads,
    num_key_value_heads: kvHeads,
    head_dim: 128,
    rotary_dim: 64,
    rope_theta: 1e7,
    intermediate_size: part(9216, 32),
    num_local_experts: 8,
    num_experts_per_tok: 2,
    vocab_size: vocab,
    max_position_embeddings: maxPositions,
    attn_type_list: layers,
    postnorm: true,
    layernorm_full_attention_alpha: 3.5565588200778455,
    layernorm_linear_attention_alpha: 3.5565588200778455,
    layernorm_mlp_alpha: 3.5565588200778455,
  };
}

/** The slice with random weights on the device, and where its bytes lie. */
export async function buildSlice(
  device: Device,
  options: SliceOptions,
  { precision, signal }: { readonly precision: "f32" | "f16"; readonly signal: AbortSignal },
): Promise<{ readonly language: LanguageModel; readonly shares: WeightShares }> {
  const source = "m1-slice";
  const json = sliceConfig(options);
  const config = miniMaxM1.parseConfig(json, source);
  const tree = miniMaxM1.weights(config, () => undefined);
  const checkpoint = randomCheckpoint(tree);
  const weights = await loadWeights(device, checkpoint, tree, { source, precision, signal });
  const sizes = [...checkpoint.entries.values()].map(({ name, byteLength }) => ({ name, bytes: byteLength }));
  return { language: miniMaxM1.build(device, config, weights), shares: sharesOf(sizes, json) };
}

export async function m1SliceSuite(input: DeviceInput): Promise<SuiteOutput> {
  const { device, flags, signal, say } = input;
  const { runs, scale } = flags;
  if (scale > 0.25 && !isRealGpu(device)) {
    throw new UsageError(
      `m1-slice --scale ${scale} needs a GPU with ${Math.ceil(13 * scale ** 2) + 1} GB and more: elsewhere --scale 0.0625`,
    );
  }
  const contexts = [...(flags.context ?? (isRealGpu(device) ? [1000, 100_000, 1_000_000] : [1000, 10_000]))].sort(
    (a, b) => a - b,
  );
  say("measuring the memory's bandwidth");
  const bandwidth = await streamBandwidth(device, { runs, signal });
  const results: BenchResult[] = [bandwidth];
  const profiles: NamedProfile[] = [];
  const vocab = flags.vocab ?? 4096;
  const maxPositions = Math.max(...contexts) + DECODE_STEPS + 1;
  const precision = flags.precision === "f32" ? "f32" : "f16";
  for (const [name, layers] of Object.entries(variants)) {
    say(`${name}: making random weights`);
    const { language, shares } = await buildSlice(
      device,
      { scale, vocab, maxPositions, layers },
      { precision, signal },
    );
    using _ = language;
    for (const context of contexts) {
      try {
        const { result, profile } = await atContext(input, {
          name,
          language,
          shares,
          context,
          bandwidth: bandwidth.gbs,
        });
        results.push(result);
        if (profile) profiles.push(profile);
      } catch (error) {
        // The softmax slice needs four times the cache: what fits is worth knowing all the same.
        if (!(error instanceof OutOfMemoryError)) throw error;
        note(`${name}, context ${context}: left out, ${error.message}`);
        break;
      }
    }
  }
  return { results, profiles };
}

async function atContext(
  { device, flags, signal, say }: DeviceInput,
  o: {
    readonly name: string;
    readonly language: LanguageModel;
    readonly shares: WeightShares;
    readonly context: number;
    readonly bandwidth: number;
  },
): Promise<{ result: BenchResult; profile: NamedProfile | undefined }> {
  const { name, language, shares, context } = o;
  const { runs, kv } = flags;
  say(`${name}: filling ${context} tokens of context`);
  using pool = new SequencePool(device, language.state, { slots: 1, kv, maxTokens: context + DECODE_STEPS + 1 });
  using sequence = pool.open();
  sequence.reserve(context + DECODE_STEPS + 1);
  await fillCaches(device, pool, sequence, context, signal);
  say(`${name}: ${runs} runs of ${DECODE_STEPS} steps`);
  const options = { runs, signal, context, profile: flags.profile === true };
  const { seconds, profile } = await timeDecodeSteps(language, pool, [sequence], options);
  const bits = cacheKind(kv).bits(language.state);
  const bytes = decodeStepBytes(language, shares, { batch: 1, length: context, cacheBits: bits });
  const sizes = {
    scale: flags.scale,
    context,
    kv,
    stepBytes: Math.round(bytes),
  };
  const result: BenchResult = {
    name: `${name}: decode`,
    ...place(device),
    sizes,
    ...withFloor(seconds, bytes / (o.bandwidth * 1e9)),
    gbs: digits(bytes / seconds / 1e9),
    tokensPerSecond: digits(1 / seconds),
  };
  const kernels = profile && {
    name: `${name}: decode, ${DECODE_STEPS} steps`,
    sizes,
    seconds: seconds * DECODE_STEPS,
    kernels: profile.entries,
    gbs: o.bandwidth,
  };
  return { result, profile: kernels };
}
