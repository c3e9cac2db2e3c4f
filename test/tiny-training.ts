/** A hybrid that is small enough to be trained in tests, and batches for it out of nothing. */
import type { Device } from "../src/device/index.js";
import { type LanguageModel, loadLanguageModel } from "../src/models/index.js";
import type { BatchSource, TrainingBatch } from "../src/train/data/batch.js";
import { initialisedFolder } from "../src/train/initialise.js";
import { Random, type RandomState } from "../src/train/tasks/index.js";

/** MiniMax-M1's layout: lightning and softmax layers, experts. */
export const tinyConfig = {
  model_type: "minimax",
  layer_types: ["linear_attention", "full_attention"],
  num_local_experts: 2,
  num_experts_per_tok: 1,
  vocab_size: 48,
  hidden_size: 32,
  intermediate_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 16,
  max_position_embeddings: 512,
  tie_word_embeddings: true,
} as const;

export async function tinyModel(device: Device, config: object = tinyConfig, seed = 1): Promise<LanguageModel> {
  return loadLanguageModel(device, await initialisedFolder(config, "tiny", { seed, deviation: 0.2 }));
}

/** Rows that count upwards from a random number: what comes next is easy to learn. */
export class CountingSource implements BatchSource {
  private random: Random;

  constructor(
    private readonly options: { rows: number; length: number; vocabulary: number },
    seed = 7,
  ) {
    this.random = new Random(seed);
  }

  async next(): Promise<TrainingBatch> {
    const { rows: count, length, vocabulary } = this.options;
    const rows = Array.from({ length: count }, () => {
      const first = this.random.int(0, vocabulary - 1);
      const step = this.random.int(1, 2);
      return Array.from({ length }, (_, i) => (first + i * step) % vocabulary);
    });
    return { rows, targets: rows.flatMap((row) => [...row.slice(1), -1]) };
  }

  position(): RandomState {
    return this.random.state;
  }

  restore(position: unknown): void {
    this.random = Random.resume(position as RandomState); // what `position` gave
  }
}
