/**
 * What the Llama-like families share: a pre-norm decoder with softmax attention and a gated MLP (or a mixture of experts).
 *
 *   x ← x + Attention(RMSNorm(x));  x ← x + MLP(RMSNorm(x));  logits = RMSNorm(x) Wheadᵀ
 *
 * The families differ in biases, in the norm of q and k, in the window, and in their layers' second half; each says so in
 * its own file, in its config and its table of weights.
 *
 * Axes  T tokens, C hidden size, H heads, G key/value heads, D head size, V vocabulary.
 */
import { z } from "zod";
import type { Device } from "../device/index.js";
import {
  type AttentionWeights,
  attentionBlock,
  gatedMlp,
  type MlpWeights,
  plainBranch,
  plainResidual,
} from "../nn/index.js";
import {
  embedding,
  gatherLastTokens,
  normedMatmul,
  normedMoe,
  rmsNorm,
  ropeTable,
  type WeightMatrix,
} from "../ops/index.js";
import type { Tensor } from "../tensor/index.js";
import {
  ConfigError,
  count,
  headDimProblems,
  layerCount,
  positive,
  type RopeConfig,
  ropeConfig,
  ropeSchema,
} from "./config.js";
import type { ForwardOptions, LanguageModel } from "./language-model.js";
import { layerPass } from "./layer-pass.js";
import { countParameters, disposeAll, weightBytes } from "./measure.js";
import { type MatrixSpec, matrix, stacked, stackedVector, vector, vocabularyMatrix } from "./weights.js";

/** Fields of config.json that all these families have. */
export const decoderSchema = {
  num_hidden_layers: layerCount,
  hidden_size: count,
  num_attention_heads: count,
  num_key_value_heads: count.optional(),
  head_dim: count.nullish(),
  intermediate_size: count,
  vocab_size: count,
  max_position_embeddings: count,
  rms_norm_eps: positive.default(1e-6),
  hidden_act: z.literal("silu", { error: "only silu is supported" }).default("silu"),
  tie_word_embeddings: z.boolean().default(false),
  ...ropeSchema,
};

type DecoderJson = z.infer<z.ZodObject<typeof decoderSchema>>;

export interface DecoderConfig {
  readonly layers: number;
  readonly hiddenSize: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly mlpSize: number;
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly rmsNormEps: number;
  readonly tied: boolean;
  readonly rope: RopeConfig;
  /** Positions that layer l sees, its own included; undefined: all. */
  readonly window: readonly (number | undefined)[];
}

/** The common part of a config. @throws {ConfigError} */
export function decoderConfig(
  c: DecoderJson,
  source: string,
  windowOf: (layer: number) => number | undefined = () => undefined,
): DecoderConfig {
  const heads = c.num_attention_heads;
  const kvHeads = c.num_key_value_heads ?? heads;
  const headDim = c.head_dim ?? Math.floor(c.hidden_size / heads);
  const problems: string[] = [];
  if (heads % kvHeads !== 0)
    problems.push(`num_attention_heads ${heads} is no multiple of num_key_value_heads ${kvHeads}`);
  problems.push(...headDimProblems(headDim));
  if (problems.length > 0) throw new ConfigError(source, problems);
  return {
    layers: c.num_hidden_layers,
    hiddenSize: c.hidden_size,
    heads,
    kvHeads,
    headDim,
    mlpSize: c.intermediate_size,
    vocabSize: c.vocab_size,
    maxPositions: c.max_position_embeddings,
    rmsNormEps: c.rms_norm_eps,
    tied: c.tie_word_embeddings,
    rope: ropeConfig(c, 10_000, c.max_position_embeddings, source),
    window: Array.from({ length: c.num_hidden_layers }, (_, l) => windowOf(l)),
  };
}

/** Weights of a layer's attention. `bias`: on q, k and v; `outputBias`: on o; `headNorm`: RMSNorm of q and k heads. */
export function attentionSpecs(
  c: DecoderConfig,
  p: string,
  o: { bias?: boolean; outputBias?: boolean; headNorm?: boolean } = {},
) {
  const { hiddenSize: C, headDim: D } = c;
  const q = c.heads * D;
  const kv = c.kvHeads * D;
  const a = `${p}.self_attn`;
  return {
    qkv: stacked(C, [
      { name: `${a}.q_proj.weight`, shape: [q, C] },
      { name: `${a}.k_proj.weight`, shape: [kv, C] },
      { name: `${a}.v_proj.weight`, shape: [kv, C] },
    ]),
    qkvBias: o.bias
      ? stackedVector([`${a}.q_proj.bias`, q], [`${a}.k_proj.bias`, kv], [`${a}.v_proj.bias`, kv])
      : undefined,
    qNorm: o.headNorm ? vector(`${a}.q_norm.weight`, D) : undefined,
    kNorm: o.headNorm ? vector(`${a}.k_norm.weight`, D) : undefined,
    output: matrix(`${a}.o_proj.weight`, C, q),
    outputBias: o.outputBias ? vector(`${a}.o_proj.bias`, C) : undefined,
  };
}

export function mlpSpecs(c: DecoderConfig, p: string): { gateUp: MatrixSpec; down: MatrixSpec } {
  const { hiddenSize: C, mlpSize: I } = c;
  return {
    gateUp: stacked(C, [
      { name: `${p}.mlp.gate_proj.weight`, shape: [I, C] },
      { name: `${p}.mlp.up_proj.weight`, shape: [I, C] },
    ]),
    down: matrix(`${p}.mlp.down_proj.weight`, C, I),
  };
}

export function layerNormSpecs(c: DecoderConfig, p: string) {
  return {
    inputNorm: vector(`${p}.input_layernorm.weight`, c.hiddenSize),
    postNorm: vector(`${p}.post_attention_layernorm.weight`, c.hiddenSize),
  };
}

/** Embedding, final norm and head around a family's layers. */
export function decoderSpecs<L>(c: DecoderConfig, layer: (prefix: string, l: number) => L) {
  return {
    embedding: vocabularyMatrix("model.embed_tokens.weight", c.vocabSize, c.hiddenSize),
    layers: Array.from({ length: c.layers }, (_, l) => layer(`model.layers.${l}`, l)),
    norm: vector("model.norm.weight", c.hiddenSize),
    head: c.tied ? undefined : vocabularyMatrix("lm_head.weight", c.vocabSize, c.hiddenSize),
  };
}

export interface DecoderLayer {
  readonly inputNorm: Tensor;
  readonly postNorm: Tensor;
  readonly attention: AttentionWeights;
  readonly mlp?: MlpWeights | undefined;
  readonly moe?:
    | { readonly router: WeightMatrix; readonly gateUp: WeightMatrix; readonly down: WeightMatrix }
    | undefined;
}

export interface DecoderWeights {
  readonly embedding: WeightMatrix;
  readonly layers: readonly DecoderLayer[];
  readonly norm: Tensor;
  readonly head: WeightMatrix | undefined;
}

export interface ExpertOptions {
  readonly experts: number;
  readonly topK: number;
  readonly normalise: boolean;
}

/** The forward pass of all these families. */
export function buildDecoder(
  family: string,
  device: Device,
  c: DecoderConfig,
  w: DecoderWeights,
  experts?: ExpertOptions,
): LanguageModel {
  const { rmsNormEps: eps, heads, headDim } = c;
  const rotaryDim = 2 * Math.floor((headDim * (c.rope.partialFactor ?? 1)) / 2);
  const rope = ropeTable(device, {
    rotaryDim,
    theta: c.rope.theta,
    maxPositions: c.maxPositions,
    ...(c.rope.scaling ? { scaling: c.rope.scaling } : {}),
  });

  const forward: LanguageModel["forward"] = (
    step,
    pool,
    { logits = "last", onHidden, onExperts, aroundLayer }: ForwardOptions = {},
  ) => {
    let x = embedding(step, w.embedding);
    onHidden?.("hidden.0", x);
    for (const [l, layer] of w.layers.entries()) {
      const cache = pool.caches[l];
      if (!cache) throw new Error(`internal: the pool has no cache for layer ${l}`);
      const run = (x: Tensor) => {
        const options = { heads, headDim, rope, eps, window: c.window[l] };
        const norm = { weight: layer.inputNorm, eps };
        const u = attentionBlock(x, norm, layer.attention, options, cache, plainBranch, step);
        const postNorm = { weight: layer.postNorm, eps };
        if (layer.moe && experts) {
          const { normed, product } = normedMoe(u, postNorm, layer.moe, { ...experts, residual: plainResidual(u) });
          return { next: product, input: onExperts ? normed : undefined };
        }
        if (layer.mlp) return { next: gatedMlp(u, layer.mlp, plainResidual(u), postNorm), input: undefined };
        throw new Error(`internal: layer ${l} has neither MLP nor experts`);
      };
      const { next, input } = layerPass(device, x, run, layer, aroundLayer);
      x.dispose();
      x = next;
      if (input && layer.moe && experts) {
        onExperts?.(l, { input, weights: layer.moe, ...experts });
        input.dispose();
      }
      onHidden?.(`hidden.${l + 1}`, x);
    }
    // No scope here: what onHidden keeps must outlive the pass.
    using last = x;
    using rows = logits === "last" ? gatherLastTokens(last, step) : last.reshape(last.shape);
    if (logits === "none") return rmsNorm(rows, w.norm, { eps });
    const { normed, product } = normedMatmul(rows, { weight: w.norm, eps }, w.head ?? w.embedding);
    using _normed = normed;
    onHidden?.("hidden.norm", normed);
    return product;
  };

  const dispose = () => disposeAll([w, rope]);
  return {
    family,
    device,
    vocabSize: c.vocabSize,
    layers: c.layers,
    state: {
      softmaxLayers: c.layers,
      kvHeads: c.kvHeads,
      headDim,
      rotaryDim,
      lightningLayers: 0,
      lightningHeads: 0,
      lightningHeadDim: 0,
      vocabSize: c.vocabSize,
      maxPositions: c.maxPositions,
    },
    weightBytes: weightBytes(w),
    parameters: countParameters(w, experts ? experts.topK / experts.experts : 1),
    forward,
    head: w.head ?? w.embedding,
    dispose,
    [Symbol.dispose]: dispose,
  };
}
