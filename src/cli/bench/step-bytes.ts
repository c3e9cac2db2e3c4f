/**
 * Bytes that a decode step must read, and write for the states: the floor of its time.
 *
 *   weights  everything but experts once; of the experts those that B tokens choose: E · (1 − (1 − k/E)^B) expected, if the
 *            router spread them evenly; of an embedding that is not the head as well, nothing that counts
 *   caches   B · length · 2 · kvHeads · headDim values a softmax layer
 *   states   B · H · d² float32 a lightning layer, read and written
 *
 * Our choice  the share of the experts is taken from the file's tensors and applied to the bytes on the device, so that
 *             quantised models count as they are stored.
 */
import type { StateSpec } from "../../cache/index.js";
import { isJsonObject, openCheckpoint, openFolder } from "../../formats/index.js";
import type { LanguageModel } from "../../models/index.js";

export interface WeightShares {
  /** Of the bytes: experts, and rows that are only looked up. */
  readonly experts: number;
  readonly lookup: number;
  /** k/E; 1 without experts. */
  readonly chosen: number;
  /** Parameters of the head (V · C), which a prompt needs for its last token only. */
  readonly headParameters: number;
}

const isExpert = (name: string) => /\.experts\./.test(name);
const isEmbedding = (name: string) => /(^|\.)embed_tokens\.weight/.test(name);

/** Reads a model folder's headers. */
export async function weightShares(where: string, configFile = "config.json"): Promise<WeightShares> {
  const folder = await openFolder(where);
  try {
    const config: unknown = await folder.readJson(configFile);
    await using checkpoint = await openCheckpoint(folder);
    const sizes = [...checkpoint.entries].map(([name, entry]) => ({ name, bytes: entry.byteLength }));
    return sharesOf(sizes, config);
  } finally {
    await folder.close();
  }
}

export function sharesOf(
  tensors: readonly { readonly name: string; readonly bytes: number }[],
  config: unknown,
): WeightShares {
  const fields = isJsonObject(config) ? config : {};
  const number = (...names: readonly string[]) =>
    names.map((name) => fields[name]).find((value): value is number => typeof value === "number" && value > 0);
  const experts = number("num_local_experts", "num_experts") ?? 1;
  const hasHead = tensors.some(({ name }) => name.startsWith("lm_head."));
  const sum = (test: (name: string) => boolean) =>
    tensors.reduce((total, { name, bytes }) => (test(name) ? total + bytes : total), 0);
  const total = sum(() => true);
  return {
    experts: sum(isExpert) / total,
    lookup: hasHead ? sum(isEmbedding) / total : 0,
    chosen: Math.min(1, (number("num_experts_per_tok") ?? experts) / experts),
    headParameters: (number("vocab_size") ?? 0) * (number("hidden_size") ?? 0),
  };
}

export interface StepSize {
  readonly batch: number;
  /** Tokens of each sequence's cache. */
  readonly length: number;
  /** Bits of a cached value. */
  readonly cacheBits: number;
}

/** Bytes of one decode step. */
export function decodeStepBytes(
  model: Pick<LanguageModel, "weightBytes"> & { readonly state: StateSpec },
  shares: Omit<WeightShares, "headParameters">,
  { batch, length, cacheBits }: StepSize,
): number {
  const { softmaxLayers, kvHeads, headDim, lightningLayers, lightningHeads, lightningHeadDim } = model.state;
  const touched = 1 - (1 - shares.chosen) ** batch;
  const weights = model.weightBytes * (1 - shares.lookup - shares.experts * (1 - touched));
  const cache = (batch * length * softmaxLayers * 2 * kvHeads * headDim * cacheBits) / 8;
  const states = 2 * batch * lightningLayers * lightningHeads * lightningHeadDim ** 2 * 4;
  return weights + cache + states;
}

/** Operations of a prompt's products: two for each active parameter and token; the head's for the last token only. */
export function promptOperations(
  active: number,
  { headParameters }: Pick<WeightShares, "headParameters">,
  tokens: number,
): number {
  return 2 * ((active - headParameters) * tokens + headParameters);
}

/** Operations of a prompt's attention: causal pairs of the softmax layers, the lightning layers' states. @param heads query heads. */
export function promptAttention({ state }: Pick<LanguageModel, "state">, heads: number, tokens: number): number {
  const { softmaxLayers, headDim, lightningLayers, lightningHeads, lightningHeadDim } = state;
  const softmax = 2 * tokens * (tokens + 1) * heads * headDim * softmaxLayers;
  return softmax + 4 * tokens * lightningHeads * lightningHeadDim ** 2 * lightningLayers;
}
