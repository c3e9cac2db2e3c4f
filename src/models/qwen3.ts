/**
 * Qwen3, dense and mixture of experts: RMSNorm over each head of q and k before rotary, no biases; in the sparse models
 * a softmax router over E experts whose k chosen probabilities are renormalised when `norm_topk_prob` says so.
 *
 * Source  Yang et al. 2025, arXiv 2505.09388. Names as transformers writes them.
 */
import { z } from "zod";
import { ConfigError, count, expertCount, parseWith } from "./config.js";
import {
  attentionSpecs,
  buildDecoder,
  type DecoderConfig,
  decoderConfig,
  decoderSchema,
  decoderSpecs,
  type ExpertOptions,
  layerNormSpecs,
  mlpSpecs,
} from "./decoder.js";
import type { ModelFamily } from "./language-model.js";
import { qwenWindow, qwenWindowSchema } from "./qwen-window.js";
import { float32Matrix, stacked } from "./weights.js";

const schema = z.looseObject({
  ...decoderSchema,
  ...qwenWindowSchema,
  model_type: z.enum(["qwen3", "qwen3_moe"]),
  attention_bias: z.boolean().default(false),
  // transformers 4 calls it num_experts, 5 num_local_experts.
  num_experts: expertCount.optional(),
  num_local_experts: expertCount.optional(),
  num_experts_per_tok: count.default(8),
  moe_intermediate_size: count.optional(),
  norm_topk_prob: z.boolean().default(false),
  decoder_sparse_step: count.default(1),
  mlp_only_layers: z.array(z.number().int()).nullish(),
});

export interface Qwen3Config extends DecoderConfig {
  readonly attentionBias: boolean;
  readonly moe:
    | (ExpertOptions & { readonly expertSize: number; readonly isSparse: (layer: number) => boolean })
    | undefined;
}

function parseConfig(json: unknown, source: string): Qwen3Config {
  const c = parseWith(schema, json, source);
  const base = { ...decoderConfig(c, source, qwenWindow(c)), attentionBias: c.attention_bias };
  if (c.model_type === "qwen3") return { ...base, moe: undefined };
  const experts = c.num_local_experts ?? c.num_experts;
  if (experts === undefined || c.moe_intermediate_size === undefined) {
    throw new ConfigError(source, ["qwen3_moe needs num_experts and moe_intermediate_size"]);
  }
  if (c.num_experts_per_tok > experts)
    throw new ConfigError(source, [`num_experts_per_tok: ${c.num_experts_per_tok} of ${experts}`]);
  const dense = new Set(c.mlp_only_layers ?? []);
  return {
    ...base,
    moe: {
      experts,
      topK: c.num_experts_per_tok,
      normalise: c.norm_topk_prob,
      expertSize: c.moe_intermediate_size,
      isSparse: (l) => !dense.has(l) && (l + 1) % c.decoder_sparse_step === 0,
    },
  };
}

function expertSpecs(c: Qwen3Config, p: string, { experts, expertSize: I }: NonNullable<Qwen3Config["moe"]>) {
  const C = c.hiddenSize;
  const expert = Array.from({ length: experts }, (_, e) => `${p}.mlp.experts.${e}`);
  return {
    router: float32Matrix([`${p}.mlp.gate.weight`], experts, C),
    gateUp: stacked(
      C,
      expert.flatMap((e) => [
        { name: `${e}.gate_proj.weight`, shape: [I, C] },
        { name: `${e}.up_proj.weight`, shape: [I, C] },
      ]),
      [{ name: `${p}.mlp.experts.gate_up_proj`, shape: [experts, 2 * I, C] }],
    ),
    down: stacked(
      I,
      expert.map((e) => ({ name: `${e}.down_proj.weight`, shape: [C, I] })),
      [{ name: `${p}.mlp.experts.down_proj`, shape: [experts, C, I] }],
    ),
  };
}

function weights(c: Qwen3Config) {
  return decoderSpecs(c, (p, l) => ({
    ...layerNormSpecs(c, p),
    attention: attentionSpecs(c, p, { bias: c.attentionBias, outputBias: c.attentionBias, headNorm: true }),
    mlp: c.moe?.isSparse(l) ? undefined : mlpSpecs(c, p),
    moe: c.moe?.isSparse(l) ? expertSpecs(c, p, c.moe) : undefined,
  }));
}

export const qwen3: ModelFamily<Qwen3Config, ReturnType<typeof weights>> = {
  name: "qwen3",
  modelTypes: ["qwen3", "qwen3_moe"],
  parseConfig,
  weights,
  build: (device, config, w) => buildDecoder("qwen3", device, config, w, config.moe),
};
