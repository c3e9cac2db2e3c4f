/**
 * Qwen2 and Qwen2.5: Llama's layer with biases on q, k and v (none on o), and a window in the layers that ask for one.
 *
 * Source  Yang et al. 2024, arXiv 2407.10671. Names as transformers writes them.
 */
import { z } from "zod";
import { parseWith } from "./config.js";
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
import { qwenWindow, qwenWindowSchema } from "./qwen-window.js";

const schema = z.looseObject({ ...decoderSchema, ...qwenWindowSchema, model_type: z.literal("qwen2") });

function parseConfig(json: unknown, source: string): DecoderConfig {
  const c = parseWith(schema, json, source);
  return decoderConfig(c, source, qwenWindow(c));
}

function weights(c: DecoderConfig) {
  return decoderSpecs(c, (p) => ({
    ...layerNormSpecs(c, p),
    attention: attentionSpecs(c, p, { bias: true }),
    mlp: mlpSpecs(c, p),
  }));
}

export const qwen2: ModelFamily<DecoderConfig, ReturnType<typeof weights>> = {
  name: "qwen2",
  modelTypes: ["qwen2"],
  parseConfig,
  weights,
  build: (device, config, w) => buildDecoder("qwen2", device, config, w),
};
