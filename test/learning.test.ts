/**
 * Everything together: a hybrid of a million parameters with a byte vocabulary, from random numbers to a checkpoint that
 * answers fresh problems of three families. 117 seconds of two cores with grouped gradients of the experts.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Device } from "../src/device/index.js";
import { loadModel } from "../src/generate/index.js";
import { loadLanguageModel } from "../src/models/index.js";
import { chatTemplateFromConfig, createTokenizer } from "../src/text/index.js";
import { byteTokenizerFiles, openBatches } from "../src/train/data/index.js";
import { chatAnswerer, type EvaluationProblem, evaluateTasks } from "../src/train/evaluate/index.js";
import { initialisedFolder } from "../src/train/initialise.js";
import { runTraining, textFile } from "../src/train/node/run-training.js";
import { type Level, make, Random, toPrompt } from "../src/train/tasks/index.js";
import { Trainer } from "../src/train/trainer.js";
import { devices } from "./devices.js";

/** MiniMax-M1's layout at 1.0 M parameters: lightning and softmax layers in turn, four experts. */
const config = {
  model_type: "minimax_m1",
  attn_type_list: [0, 1, 0, 1],
  postnorm: false,
  num_local_experts: 4,
  num_experts_per_tok: 2,
  vocab_size: 264,
  hidden_size: 128,
  intermediate_size: 112,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 32,
  rotary_dim: 32,
  max_position_embeddings: 512,
  tie_word_embeddings: true,
};

/** Weights are shares of tokens: what is learnt last gets most. */
const lessons: readonly { readonly family: string; readonly level: Level; readonly weight: number }[] = [
  { family: "parity", level: 1, weight: 2.4 },
  { family: "length", level: 0, weight: 0.6 },
  { family: "bool", level: 1, weight: 2 },
];

/** Fresh: of the split that training never draws. */
function problems(count: number): EvaluationProblem[] {
  return lessons.flatMap(({ family, level }) => {
    const random = new Random(`learning/${family}`);
    return Array.from({ length: count }, () => {
      const problem = make(random, family, level, "evaluation");
      return { family, mode: "direct", level, user: toPrompt(problem, "direct"), answer: problem.answer };
    });
  });
}

test("three families are learnt from scratch to 90 % and more", { timeout: 1_800_000 }, async () => {
  const [device] = (await devices()) as [Device];
  const bytes = byteTokenizerFiles();
  const files = {
    "tokenizer.json": JSON.stringify(bytes.tokenizer),
    "tokenizer_config.json": JSON.stringify(bytes.config),
  };
  const out = await mkdtemp(join(tmpdir(), "fulgur-learning-"));
  try {
    const folder = await initialisedFolder(config, "learning", { seed: 1, deviation: 0.07 }, files);
    let checkpoint: string;
    {
      using language = await loadLanguageModel(device, folder);
      expect(language.parameters.total).toBeGreaterThan(0.95e6);
      const exercises = lessons.map(({ family, level, weight }) => ({
        weight,
        exercises: {
          families: [family],
          levels: [0, 1, 2].map((at) => (at === level ? 1 : 0)),
          mode: "direct",
          loss: "all",
        },
      }));
      const tokenizer = createTokenizer(bytes.tokenizer, bytes.config);
      const template = chatTemplateFromConfig(bytes.config);
      const size = { tokensPerBatch: 768, sequence: 128, seed: 1 };
      await using source = await openBatches({ sources: exercises }, tokenizer, {
        ...size,
        ...(template ? { template } : {}),
      });
      const steps = 1400;
      using trainer = new Trainer(language, {
        ...{ source, steps, learningRate: 3e-3, schedule: { kind: "cosine", warmupSteps: 50, final: 0.05 } as const },
        optimiser: { kind: "adamw", beta2: 0.98, decay: 0.05, maxNorm: 1 },
      });
      const companions = [
        textFile("config.json", JSON.stringify(config)),
        ...Object.entries(files).map(([name, text]) => textFile(name, text)),
      ];
      ({ checkpoint } = await runTraining(trainer, { out, companions }));
    }
    await using model = await loadModel(checkpoint, { device, slots: 8 });
    const { families } = await evaluateTasks(chatAnswerer(model, { maxTokens: 16 }), problems(40));
    for (const { family, accuracy } of families) expect(accuracy, family).toBeGreaterThanOrEqual(0.9);
  } finally {
    await rm(out, { recursive: true });
  }
});
