/**
 * MiniMax-M1 and MiniMax-Text-01: lightning attention in most layers, softmax attention in some, a mixture of experts in
 * all; the residual branch carries the normed value (post-norm) in every published model.
 *
 *   n = RMSNorm(x);  u = alpha_a · (n or x) + beta_a · Attention(n)
 *   m = RMSNorm(u);  x = alpha_m · (m or u) + beta_m · MoE(m)
 *
 * Axes     T tokens, C hidden size, H heads, G key/value heads, D head size, E experts, I expert size, V vocabulary.
 * Source   MiniMax-M1 report, arXiv 2506.13585; MiniMax-01 report, arXiv 2501.08313; config.json and tensor names of the
 *          release (`minimax_m1`, `minimax_text_01`) and of transformers (`minimax`).
 * Departs  where the two spellings differ in mathematics (slopes for head counts that are no power of two, rotary
 *          channels, post-norm), `model_type` decides. Router, norms, states and logits are float32 throughout.
 */
import { z } from "zod";
import type { StateSpec } from "../cache/index.js";
import type { Device } from "../device/index.js";
import {
  attentionBlock,
  type Branch,
  gatedMlp,
  lightningBlock,
  lightningSlopes,
  type Residual,
  slopeFactor,
} from "../nn/index.js";
import {
  embedding,
  gatherLastTokens,
  matmul,
  moe,
  normedMatmul,
  normedMoe,
  type RopeTable,
  rmsNorm,
  ropeTable,
} from "../ops/index.js";
import { type Tensor, upload } from "../tensor/index.js";
import {
  ConfigError,
  count,
  expertCount,
  headDimProblems,
  layerCount,
  parseWith,
  positive,
  ropeConfig,
  ropeSchema,
} from "./config.js";
import type { ForwardOptions, LanguageModel, ModelFamily } from "./language-model.js";
import { layerPass } from "./layer-pass.js";
import { countParameters, disposeAll, weightBytes } from "./measure.js";
import { float32Matrix, type Loaded, matrix, stacked, vector, vocabularyMatrix } from "./weights.js";

const factor = z.number().default(1);

const schema = z.looseObject({
  model_type: z.enum(["minimax_m1", "minimax_text_01", "minimax"]),
  num_hidden_layers: layerCount,
  hidden_size: count,
  num_attention_heads: count,
  num_key_value_heads: count.optional(),
  head_dim: count.nullish(),
  intermediate_size: count,
  num_local_experts: expertCount.optional(),
  num_experts: expertCount.optional(),
  num_experts_per_tok: count.default(2),
  vocab_size: count,
  max_position_embeddings: count,
  rms_norm_eps: positive.default(1e-5),
  hidden_act: z.literal("silu", { error: "only silu is known in this family" }).default("silu"),
  tie_word_embeddings: z.boolean().default(false),
  sliding_window: z.null({ error: "a sliding window is not part of this family" }).optional(),
  rotary_dim: count.optional(),
  ...ropeSchema,
  // The release's spelling; vLLM also reads decoder_attention_types.
  attn_type_list: z.array(z.union([z.literal(0), z.literal(1)])).optional(),
  decoder_attention_types: z.array(z.union([z.literal(0), z.literal(1)])).optional(),
  layernorm_full_attention_alpha: factor,
  layernorm_full_attention_beta: factor,
  layernorm_linear_attention_alpha: factor,
  layernorm_linear_attention_beta: factor,
  layernorm_mlp_alpha: factor,
  layernorm_mlp_beta: factor,
  postnorm: z.boolean().optional(),
  shared_intermediate_size: z.number().int().min(0).default(0),
  // Always "sigmoid" in the release, whose code never reads it.
  shared_moe_mode: z.string().optional(),
  // transformers' spelling.
  layer_types: z.array(z.enum(["linear_attention", "full_attention"])).optional(),
  full_attn_alpha_factor: factor,
  full_attn_beta_factor: factor,
  linear_attn_alpha_factor: factor,
  linear_attn_beta_factor: factor,
  mlp_alpha_factor: factor,
  mlp_beta_factor: factor,
});

interface Mix {
  readonly alpha: number;
  readonly beta: number;
}

export interface MiniMaxConfig {
  readonly layerKinds: readonly ("lightning" | "softmax")[];
  readonly hiddenSize: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly expertSize: number;
  readonly experts: number;
  readonly expertsPerToken: number;
  readonly sharedSize: number;
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly rmsNormEps: number;
  readonly tied: boolean;
  readonly postnorm: boolean;
  readonly rotaryDim: number;
  readonly rope: ReturnType<typeof ropeConfig>;
  readonly mix: { readonly softmax: Mix; readonly lightning: Mix; readonly mlp: Mix };
  readonly slopes: "official" | "geometric";
}

function parseConfig(json: unknown, source: string): MiniMaxConfig {
  const c = parseWith(schema, json, source);
  const isTransformers = c.model_type === "minimax";
  const problems: string[] = [];

  const experts = c.num_local_experts ?? c.num_experts;
  if (experts === undefined) problems.push("num_local_experts: missing");
  else if (c.num_experts_per_tok > experts)
    problems.push(`num_experts_per_tok: ${c.num_experts_per_tok} of ${experts}`);

  const attentionTypes = c.attn_type_list ?? c.decoder_attention_types;
  const layerKinds: ("lightning" | "softmax")[] | undefined = isTransformers
    ? // Absent: full, linear, full, … starting with full at layer 0.
      (c.layer_types?.map((type) => (type === "full_attention" ? "softmax" : "lightning")) ??
      Array.from({ length: c.num_hidden_layers }, (_, l) => (l % 2 === 0 ? "softmax" : "lightning")))
    : attentionTypes?.map((type) => (type === 1 ? "softmax" : "lightning"));
  if (layerKinds === undefined) problems.push("attn_type_list: missing");
  else if (layerKinds.length !== c.num_hidden_layers) {
    problems.push(
      `the list of layer types has ${layerKinds.length} entries, num_hidden_layers is ${c.num_hidden_layers}`,
    );
  }

  const heads = c.num_attention_heads;
  const kvHeads = c.num_key_value_heads ?? heads;
  if (heads % kvHeads !== 0)
    problems.push(`num_attention_heads ${heads} is no multiple of num_key_value_heads ${kvHeads}`);
  const headDim = c.head_dim ?? Math.floor(c.hidden_size / heads);

  const rope = ropeConfig(c, 10_000, c.max_position_embeddings, source);
  const partial = rope.partialFactor === undefined ? undefined : Math.floor(headDim * rope.partialFactor);
  const rotaryDim = c.rotary_dim ?? partial ?? headDim;
  if (rotaryDim % 2 !== 0 || rotaryDim > headDim) problems.push(`rotary_dim ${rotaryDim} with head_dim ${headDim}`);

  problems.push(...headDimProblems(headDim));

  if (problems.length > 0 || layerKinds === undefined || experts === undefined) throw new ConfigError(source, problems);

  // Each spelling has its own three pairs; those that are absent are 1.
  const mix = isTransformers
    ? {
        softmax: { alpha: c.full_attn_alpha_factor, beta: c.full_attn_beta_factor },
        lightning: { alpha: c.linear_attn_alpha_factor, beta: c.linear_attn_beta_factor },
        mlp: { alpha: c.mlp_alpha_factor, beta: c.mlp_beta_factor },
      }
    : {
        softmax: { alpha: c.layernorm_full_attention_alpha, beta: c.layernorm_full_attention_beta },
        lightning: { alpha: c.layernorm_linear_attention_alpha, beta: c.layernorm_linear_attention_beta },
        mlp: { alpha: c.layernorm_mlp_alpha, beta: c.layernorm_mlp_beta },
      };
  return {
    layerKinds,
    hiddenSize: c.hidden_size,
    heads,
    kvHeads,
    headDim,
    expertSize: c.intermediate_size,
    experts,
    expertsPerToken: c.num_experts_per_tok,
    sharedSize: isTransformers ? 0 : c.shared_intermediate_size,
    vocabSize: c.vocab_size,
    maxPositions: c.max_position_embeddings,
    rmsNormEps: c.rms_norm_eps,
    tied: c.tie_word_embeddings,
    postnorm: c.postnorm ?? isTransformers,
    rotaryDim,
    rope,
    mix,
    slopes: isTransformers ? "geometric" : "official",
  };
}

type ShapeOf = (name: string) => readonly number[] | undefined;

function layerWeights(c: MiniMaxConfig, l: number, shapeOf: ShapeOf) {
  const p = `model.layers.${l}`;
  const { hiddenSize: C, headDim: D, expertSize: I, experts: E } = c;
  const attentionSize = c.heads * D;
  const kvSize = c.kvHeads * D;
  const isLightning = c.layerKinds[l] === "lightning";
  const expert = Array.from({ length: E }, (_, e) => `${p}.block_sparse_moe.experts.${e}`);
  // The release builds the shared expert with intermediate_size, vLLM with shared_intermediate_size: the tensor decides.
  const S = shapeOf(`${p}.shared_mlp.down_proj.weight`)?.[1] ?? c.sharedSize;
  return {
    inputNorm: vector(`${p}.input_layernorm.weight`, C),
    postNorm: vector(`${p}.post_attention_layernorm.weight`, C),
    lightning: isLightning
      ? {
          qkv: matrix(`${p}.self_attn.qkv_proj.weight`, 3 * attentionSize, C),
          gate: matrix(`${p}.self_attn.output_gate.weight`, attentionSize, C),
          norm: vector(`${p}.self_attn.norm.weight`, attentionSize),
          output: matrix(`${p}.self_attn.out_proj.weight`, C, attentionSize),
        }
      : undefined,
    softmax: isLightning
      ? undefined
      : {
          qkv: stacked(C, [
            { name: `${p}.self_attn.q_proj.weight`, shape: [attentionSize, C] },
            { name: `${p}.self_attn.k_proj.weight`, shape: [kvSize, C] },
            { name: `${p}.self_attn.v_proj.weight`, shape: [kvSize, C] },
          ]),
          output: matrix(`${p}.self_attn.o_proj.weight`, C, attentionSize),
        },
    moe: {
      router: float32Matrix([`${p}.block_sparse_moe.gate.weight`, `${p}.mlp.gate.weight`], E, C),
      gateUp: stacked(
        C,
        expert.flatMap((e) => [
          { name: `${e}.w1.weight`, shape: [I, C] },
          { name: `${e}.w3.weight`, shape: [I, C] },
        ]),
        [{ name: `${p}.mlp.experts.gate_up_proj`, shape: [E, 2 * I, C] }],
      ),
      down: stacked(
        I,
        expert.map((e) => ({ name: `${e}.w2.weight`, shape: [C, I] })),
        [{ name: `${p}.mlp.experts.down_proj`, shape: [E, C, I] }],
      ),
    },
    shared:
      c.sharedSize === 0
        ? undefined
        : {
            gateUp: stacked(C, [
              { name: `${p}.shared_mlp.gate_proj.weight`, shape: [S, C] },
              { name: `${p}.shared_mlp.up_proj.weight`, shape: [S, C] },
            ]),
            down: matrix(`${p}.shared_mlp.down_proj.weight`, C, S),
            coefficient: float32Matrix([`${p}.coefficient.weight`], 1, C),
          },
  };
}

function weights(c: MiniMaxConfig, shapeOf: ShapeOf) {
  return {
    embedding: vocabularyMatrix("model.embed_tokens.weight", c.vocabSize, c.hiddenSize),
    layers: c.layerKinds.map((_, l) => layerWeights(c, l, shapeOf)),
    norm: vector("model.norm.weight", c.hiddenSize),
    head: c.tied ? undefined : vocabularyMatrix("lm_head.weight", c.vocabSize, c.hiddenSize),
  };
}

type Weights = ReturnType<typeof weights>;

function build(device: Device, c: MiniMaxConfig, w: Loaded<Weights>): LanguageModel {
  const { rmsNormEps: eps, heads, headDim, rotaryDim } = c;
  const rope: RopeTable = ropeTable(device, {
    rotaryDim,
    theta: c.rope.theta,
    maxPositions: c.maxPositions,
    ...(c.rope.scaling ? { scaling: c.rope.scaling } : {}),
  });
  const slopes = lightningSlopes(heads, c.slopes);
  const layers = c.layerKinds.length;
  // The layer's place among those of its kind finds its cache or its state in the pool.
  const seen = { lightning: 0, softmax: 0 };
  const plan = c.layerKinds.map((kind, l) => ({
    index: seen[kind]++,
    decay:
      kind === "lightning"
        ? upload(
            device,
            slopes.map((s) => s * slopeFactor(l, layers, c.slopes)),
            [heads],
          )
        : undefined,
  }));
  const state: StateSpec = {
    softmaxLayers: seen.softmax,
    kvHeads: c.kvHeads,
    headDim,
    rotaryDim,
    lightningLayers: seen.lightning,
    lightningHeads: heads,
    lightningHeadDim: headDim,
    vocabSize: c.vocabSize,
    maxPositions: c.maxPositions,
  };

  const forward: LanguageModel["forward"] = (
    step,
    pool,
    { logits = "last", onHidden, onExperts, aroundLayer }: ForwardOptions = {},
  ) => {
    let x = embedding(step, w.embedding);
    onHidden?.("hidden.0", x);
    for (const [l, layer] of w.layers.entries()) {
      const { index, decay } = plan[l] as (typeof plan)[number]; // one entry a layer
      const run = (x: Tensor) => {
        const norm = { weight: layer.inputNorm, eps };
        const carries = c.postnorm ? "normed" : "input";
        let u: Tensor;
        if (layer.lightning && decay) {
          const branch: Branch = { carries, ...c.mix.lightning };
          u = lightningBlock(x, norm, layer.lightning, pool.states[index] as Tensor, decay, branch, step);
        } else if (layer.softmax) {
          const cache = pool.caches[index];
          if (!cache) throw new Error(`internal: the pool has no cache for layer ${l}`);
          const branch: Branch = { carries, ...c.mix.softmax };
          u = attentionBlock(x, norm, layer.softmax, { heads, headDim, rope, eps }, cache, branch, step);
        } else throw new Error(`internal: layer ${l} has no attention`);

        const choice = { experts: c.experts, topK: c.expertsPerToken, normalise: true };
        if (!layer.shared) {
          const residual = { tensor: c.postnorm ? ("normed" as const) : u, ...c.mix.mlp };
          const { normed, product } = normedMoe(u, { weight: layer.postNorm, eps }, layer.moe, { ...choice, residual });
          return { next: product, input: onExperts ? normed : undefined };
        }
        const m = rmsNorm(u, layer.postNorm, { eps });
        const residual: Residual = { tensor: c.postnorm ? m : u, ...c.mix.mlp };
        const shared = { output: gatedMlp(m, layer.shared), coefficient: matmul(m, layer.shared.coefficient) };
        const next = moe(m, layer.moe, { ...choice, residual, shared });
        return { next, input: onExperts ? m : undefined };
      };
      const { next, input } = layerPass(device, x, run, layer, aroundLayer);
      x.dispose();
      x = next;
      if (input) {
        onExperts?.(l, { input, weights: layer.moe, experts: c.experts, topK: c.expertsPerToken, normalise: true });
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

  const dispose = () => disposeAll([w, rope, plan]);
  return {
    family: "minimax-m1",
    device,
    vocabSize: c.vocabSize,
    layers,
    state,
    weightBytes: weightBytes(w),
    parameters: countParameters(w, c.expertsPerToken / c.experts),
    forward,
    head: w.head ?? w.embedding,
    dispose,
    [Symbol.dispose]: dispose,
  };
}

export const miniMaxM1: ModelFamily<MiniMaxConfig, Weights> = {
  name: "minimax-m1",
  modelTypes: ["minimax_m1", "minimax_text_01", "minimax"],
  parseConfig,
  weights,
  // Buffers that transformers saves with the model: they follow from the config.
  ignoredTensors: [/\.self_attn\.(slope_rate|query_decay|key_decay|diagonal_decay)$/],
  build,
};
