/**
 * Mean keys and values of a model's softmax layers over a text: what RotateKV's channel order and the mean split are made from.
 *
 *   mean[g, c] = Σ over tokens of k[g, c] / tokens,   k before rotary, behind the key norm where there is one
 *
 * Axes       G key/value heads, D head size; of each layer [G·D].
 * Our choice the text is read in windows, each from an empty cache. Their first tokens collect attention and have keys unlike
 *            all others: they are in one mean (RotateKV's, as its code has it) and not in the other (the mean split's).
 * Precision  keys in float32 as the model makes them, sums in float64.
 */
import { type CacheKind, cacheKind, FullCache, SequencePool } from "../../cache/index.js";
import type { Allocation } from "../../device/index.js";
import { yieldToEvents } from "../../generate/index.js";
import type { LanguageModel } from "../../models/index.js";
import { buildStep, type HeadOptions } from "../../nn/index.js";
import type { Step } from "../../ops/index.js";
import type { Tensor } from "../../tensor/index.js";

export interface KeyMeans {
  /** Tokens that were read. */
  readonly tokens: number;
  readonly layers: readonly {
    readonly meanAllKeys: Float64Array;
    readonly meanKeys: Float64Array;
    readonly meanValues: Float64Array;
  }[];
}

export interface KeyMeansOptions {
  /** Tokens of a window. Default 2,048, or the model's longest sequence. */
  readonly context?: number;
  /** First tokens of a window that count for one mean only. Default 4. */
  readonly first?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Tokens of a step: their keys of all layers are on the host at a time. */
const STEP_TOKENS = 256;

/** A layer's q, k and v of one step, kept before the cache changes them. */
interface Kept {
  readonly layer: number;
  readonly copy: Allocation;
  readonly columns: number;
  readonly options: HeadOptions;
}

/** The full cache, which shows what it is given. */
function watchedCache(onAppend: (layer: number, qkv: Tensor, options: HeadOptions) => void): CacheKind {
  return {
    ...cacheKind("f32"),
    create(device, spec) {
      class WatchedCache extends FullCache {
        override append(qkv: Tensor, options: HeadOptions, step: Step): void {
          onAppend(spec.layer, qkv, options);
          super.append(qkv, options, step);
        }
      }
      return new WatchedCache(device, { dtype: "f32", ...spec });
    },
  };
}

/** @throws {RangeError} there are no tokens or no softmax layers. */
export async function keyMeans(
  model: LanguageModel,
  ids: readonly number[],
  options: KeyMeansOptions = {},
): Promise<KeyMeans> {
  const { device, state } = model;
  const { kvHeads, headDim, softmaxLayers } = state;
  const { context = Math.min(2048, state.maxPositions), first = 4, signal, onProgress } = options;
  if (softmaxLayers === 0) throw new RangeError("the model has no softmax attention: there is nothing to calibrate");
  if (ids.length <= first) throw new RangeError(`calibration needs more than ${first} tokens, got ${ids.length}`);
  const channels = kvHeads * headDim;
  const sums = Array.from({ length: softmaxLayers }, () => ({
    all: new Float64Array(channels),
    later: new Float64Array(channels),
    values: new Float64Array(channels),
  }));
  const norms = new Map<number, Float32Array>();
  const kept: Kept[] = [];
  const kv = watchedCache((layer, qkv, headOptions) => {
    // An allocation, not a tensor: the pass frees the tensors that it makes.
    const copy = device.allocate(qkv.byteLength, "keys to average");
    device.copy(qkv, { allocation: copy, byteOffset: 0, byteLength: qkv.byteLength });
    kept.push({ layer, copy, columns: qkv.shape[1] ?? 0, options: headOptions });
  });
  let later = 0;
  using pool = new SequencePool(device, state, { slots: 1, kv, maxTokens: context });
  for (let from = 0; from < ids.length; from += context) {
    const window = ids.slice(from, from + context);
    using sequence = pool.open();
    sequence.reserve(window.length);
    for (let past = 0; past < window.length; past += STEP_TOKENS) {
      signal?.throwIfAborted();
      const part = window.slice(past, past + STEP_TOKENS);
      try {
        using step = buildStep(device, [{ slot: sequence.slot, past, ids: part }]);
        model.forward(step, pool).dispose();
        for (const { layer, copy, columns, options: o } of kept) {
          const sum = sums[layer];
          if (!sum) throw new Error(`internal: there is no softmax layer ${layer}`);
          const byteLength = part.length * columns * 4;
          const qkv = new Float32Array(await device.read({ allocation: copy, byteOffset: 0, byteLength }));
          if (o.kNorm && !norms.has(layer)) norms.set(layer, await o.kNorm.readFloat32());
          const norm = norms.get(layer);
          for (let t = 0; t < part.length; t++) {
            const at = t * columns + o.heads * headDim;
            const k = normed(qkv.subarray(at, at + channels), headDim, norm, o.eps ?? 1e-6);
            for (let c = 0; c < channels; c++) {
              const value = k[c]!;
              sum.all[c]! += value;
              if (past + t < first) continue;
              sum.later[c]! += value;
              sum.values[c]! += qkv[at + channels + c]!;
            }
          }
        }
      } finally {
        for (const { copy } of kept.splice(0)) device.free(copy);
      }
      sequence.length = past + part.length;
      later += Math.max(0, past + part.length - Math.max(first, past));
      onProgress?.(from + past + part.length, ids.length);
      await yieldToEvents();
    }
  }
  const mean = (sum: Float64Array, count: number) => sum.map((value) => value / count);
  return {
    tokens: ids.length,
    layers: sums.map((sum) => ({
      meanAllKeys: mean(sum.all, ids.length),
      meanKeys: mean(sum.later, later),
      meanValues: mean(sum.values, later),
    })),
  };
}

/** RMSNorm of each head, where the layer has one. */
function normed(
  k: Float32Array,
  headDim: number,
  weight: Float32Array | undefined,
  eps: number,
): Float32Array | Float64Array {
  if (!weight) return k;
  const out = new Float64Array(k.length);
  for (let at = 0; at < k.length; at += headDim) {
    let squares = 0;
    for (let c = 0; c < headDim; c++) squares += k[at + c]! ** 2;
    const factor = 1 / Math.sqrt(squares / headDim + eps);
    for (let c = 0; c < headDim; c++) out[at + c] = k[at + c]! * factor * weight[c]!;
  }
  return out;
}
