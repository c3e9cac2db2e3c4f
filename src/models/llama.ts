/**
 * Llama (1 to 3) and Mistral: grouped-query attention with full rotary embedding, a gated MLP, no norms on q and k.
 *
 * Source   Touvron et al. 2023, arXiv 2302.13971; Grattafiori et al. 2024, arXiv 2407.21783 (rope type llama3); Jiang et al.
 *          2023, arXiv 2310.06825 (sliding window). Names as transformers writes them.
 * Departs  a window w lets token t see t − w + 1 … t, as transformers masks it.
 */
import { z } from "zod";
import { ConfigError, count, parseWith } from "./config.js";
import {
  attentionSpecs,
  buildDecoder,
  type DecoderConfig,
  decoderConfig,
  decoderSchema,
  decoderSpecs,
  layerNormSpecs,
  mlpSpecs,
} from "./decoder.js";
import type { ModelFamily } from "./language-model.js";

const schema = z.looseObject({
  ...decoderSchema,
  model_type: z.enum(["llama", "mistral"]),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  sliding_window: count.nullish(),
});

export interface LlamaConfig extends DecoderConfig {
  readonly attentionBias: boolean;
}

function parseConfig(json: unknown, source: string): LlamaConfig {
  const c = parseWith(schema, json, source);
  if (c.mlp_bias) throw new ConfigError(source, ["mlp_bias: biases in the MLP are not supported"]);
  const window = c.model_type === "mistral" ? (c.sliding_window ?? undefined) : undefined;
  return { ...decoderConfig(c, source, () => window), attentionBias: c.attention_bias };
}

function weights(c: LlamaConfig) {
  return decoderSpecs(c, (p) => ({
    ...layerNormSpecs(c, p),
    attention: attentionSpecs(c, p, { bias: c.attentionBias, outputBias: c.attentionBias }),
    mlp: mlpSpecs(c, p),
  }));
}

export const llama: ModelFamily<LlamaConfig, ReturnType<typeof weights>> = {
  name: "llama",
  modelTypes: ["llama", "mistral"],
  parseConfig,
  weights,
  ignoredTensors: [/\.self_attn\.rotary_emb\.inv_freq$/],
  build: (device, config, w) => buildDecoder("llama", device, config, w),
};
