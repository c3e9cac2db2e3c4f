import { describe, expect, test } from "vitest";
import { devices } from "../../test/devices.js";
import { directoryFolder } from "../formats/node/index.js";
import { loadLanguageModel, ownNumbers } from "../models/index.js";
import { Tensor } from "../tensor/index.js";
import { initialisedFolder, normalNumbers } from "./initialise.js";
import { trainedTensors } from "./optimisers/trained-tensors.js";
import { widenedFolder } from "./widen.js";

const config = {
  model_type: "minimax",
  layer_types: ["linear_attention", "full_attention"],
  num_local_experts: 2,
  num_experts_per_tok: 1,
  vocab_size: 70,
  hidden_size: 40,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 16,
  max_position_embeddings: 64,
  tie_word_embeddings: true,
};

const deviation = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);

test("normal numbers have the deviation that was asked for, and the same for the same seed", () => {
  const numbers = normalNumbers(20_001, 0.5, "a");
  expect(deviation(numbers)).toBeCloseTo(0.5, 2);
  expect(numbers.reduce((a, b) => a + b, 0) / 20_001).toBeCloseTo(0, 1);
  expect(normalNumbers(20_001, 0.5, "a")).toEqual(numbers);
  expect(normalNumbers(20_001, 0.5, "b")).not.toEqual(numbers);
});

describe.each(await devices())("initialised models on $label", (device) => {
  test("a config and a seed give a model whose tensors are as deep and as wide as they should be", async () => {
    using model = await loadLanguageModel(device, await initialisedFolder(config, "made", { seed: 3 }));
    const tensors = model.tensors ?? [];
    const numbers = new Map<string, Float32Array>();
    for (const rows of tensors) {
      const holder = rows.holder instanceof Tensor ? rows.holder : rows.holder.codes;
      numbers.set(rows.name, ownNumbers(rows, await holder.readFloat32()));
    }
    const of = (name: string) => deviation(numbers.get(name) ?? new Float32Array(0));
    expect(of("model.embed_tokens.weight")).toBeCloseTo(0.02, 3);
    expect(of("model.layers.0.self_attn.qkv_proj.weight")).toBeCloseTo(0.02, 3);
    expect(of("model.layers.0.self_attn.out_proj.weight")).toBeCloseTo(0.01, 3);
    expect(of("model.layers.1.block_sparse_moe.experts.1.w2.weight")).toBeCloseTo(0.01, 3);
    expect(new Set(numbers.get("model.norm.weight"))).toEqual(new Set([1]));

    const trained = trainedTensors(tensors);
    const roles = Object.fromEntries(trained.map(({ name, role, parts }) => [name, [role, parts.length]]));
    expect(roles).toMatchObject({
      "model.embed_tokens.weight": ["embedding", 1],
      "model.layers.0.input_layernorm.weight": ["vector", 0],
      "model.layers.0.self_attn.qkv_proj.weight": ["matrix", 1],
      "model.layers.1.self_attn.q_proj.weight": ["matrix", 3],
      "model.layers.1.block_sparse_moe.gate.weight": ["router", 1],
      "model.layers.1.block_sparse_moe.experts.0.w1.weight": ["matrix", 4],
    });
  });

  test("a checkpoint of another type is widened", async () => {
    const folder = directoryFolder(
      new URL("../../test/fixtures/models/minimax_m1_f_bf16_sharded", import.meta.url).pathname,
    );
    using plain = await loadLanguageModel(device, folder);
    expect(() => trainedTensors(plain.tensors ?? [])).toThrow(/expected as float32, got f16/);
    await using wide = await widenedFolder(folder);
    using model = await loadLanguageModel(device, wide.folder);
    expect(trainedTensors(model.tensors ?? []).length).toBeGreaterThan(10);
    expect(wide.config).not.toHaveProperty("quantization_config");
  });
});
