/**
 * `bench train`: forward and backward pass of a hybrid of fulgur-mini's layout, random float32 weights, rows of random tokens
 * side by side. No optimiser's step.
 *
 *   mini    fulgur-mini: 12 layers (nine lightning, three softmax) 384 wide, 8 heads of 64, 8 experts of 160, top 2; 31 M
 *   130m    twice as wide, experts of 384; 133 M
 *
 * Operations  see `trainingFlops`.
 * Floor       the operations at the peak of our own products in the same run: 4096³ on matrix units with --precision f16, else
 *             multiply-adds on registers.
 * Memory      `deviceMiB`: peak of the tensors that live at once, weights with them; --sequence takes several lengths, --recompute runs
 *             each a second time with the layers' inputs alone kept.
 * Peer        transformers' MiniMaxForCausalLM, eager, bfloat16 autocast, with and without AdamW's step.
 */
import { type LanguageModel, loadWeights, namedRows, trainableTensors } from "../../models/index.js";
import { miniMaxM1 } from "../../models/minimax-m1.js";
import { matmul } from "../../ops/index.js";
import type { Tensor } from "../../tensor/index.js";
import { textGradient } from "../../train/text-gradient.js";
import { trainingFlops } from "../../train/training-flops.js";
import { UsageError } from "../output.js";
import {
  type BenchResult,
  digits,
  isRealGpu,
  type NamedProfile,
  place,
  type SuiteOutput,
  withFloor,
} from "./bench-result.js";
import { randomCheckpoint, randomMatrix, randomTensor } from "./random-weights.js";
import { multiplyAddPeak, streamBandwidth } from "./roofs.js";
import type { DeviceInput } from "./suites.js";
import { launchSeconds, median, runSeconds } from "./timing.js";

export const trainShapes = {
  mini: { hidden: 384, heads: 8, kvHeads: 2, expertSize: 160 },
  "130m": { hidden: 768, heads: 16, kvHeads: 4, expertSize: 384 },
} as const;

export type TrainShape = keyof typeof trainShapes;

const LAYERS = 12;
const HEAD_DIM = 64;

/** config.json, in transformers' spelling. */
export function trainConfig(shape: TrainShape, sequence: number) {
  const { hidden, heads, kvHeads, expertSize } = trainShapes[shape];
  const alpha = (2 * LAYERS) ** 0.25;
  return {
    model_type: "minimax",
    layer_types: Array.from({ length: LAYERS }, (_, l) => (l % 4 === 3 ? "full_attention" : "linear_attention")),
    num_hidden_layers: LAYERS,
    hidden_size: hidden,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: HEAD_DIM,
    intermediate_size: expertSize,
    num_local_experts: 8,
    num_experts_per_tok: 2,
    vocab_size: 8192,
    max_position_embeddings: sequence,
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    tie_word_embeddings: true,
    full_attn_alpha_factor: alpha,
    linear_attn_alpha_factor: alpha,
    mlp_alpha_factor: alpha,
    block_size: 256,
  };
}

export async function trainSuite(input: DeviceInput): Promise<SuiteOutput> {
  const { device, flags, signal, say, peers } = input;
  const { runs, sequence: lengths = [1024] } = flags;
  const longest = Math.max(...lengths);
  const tokens = flags.tokens ?? (isRealGpu(device) ? Math.max(16_384, longest) : longest);
  for (const sequence of lengths) {
    if (tokens % sequence === 0) continue;
    throw new UsageError(`--tokens ${tokens}: expected a multiple of --sequence ${sequence}`);
  }
  const shape = flags.shape ?? "mini";
  if (typeof shape !== "string") throw new UsageError(`--shape: train takes ${Object.keys(trainShapes).join(" or ")}`);
  const precision = flags.precision === "f16" ? "f16" : "f32";
  say("measuring the arithmetic peak");
  const peak = await (precision === "f16" ? productPeak(input) : multiplyAddPeak(device, { runs, signal }));
  const bandwidth = await streamBandwidth(device, { runs, signal });
  const results: BenchResult[] = [peak, bandwidth];
  const profiles: NamedProfile[] = [];

  say(`train ${shape}: making random weights`);
  const config = trainConfig(shape, longest);
  const { language, trained } = await randomModel(input, config, precision);
  using _ = language;
  const name = `train ${shape}`;
  for (const sequence of lengths) {
    const texts = randomTexts(tokens / sequence, sequence, language.vocabSize);
    const operations = trainingFlops(
      language,
      texts.map(({ length }) => length),
    );
    const speeds = (seconds: number) => ({
      gflops: digits(operations / seconds / 1e9),
      tokensPerSecond: digits(tokens / seconds),
    });
    for (const recompute of flags.recompute ? [false, true] : [false]) {
      const run = () => {
        const { loss, gradients } = textGradient(language, trained, texts, { precision, recompute });
        for (const tensor of [loss, ...gradients]) tensor?.dispose();
      };
      say(`${name}, ${tokens} tokens a step in rows of ${sequence}${recompute ? ", recomputing" : ""}: ${runs} runs`);
      const request = { suite: "train", config, tokens, sequence };
      const turns = recompute ? [] : [false, true].map((step) => ({ step, turns: peers.beside({ ...request, step }) }));
      const after = async () => {
        for (const { turns: peer } of turns) await peer.measure();
      };
      device.resetPeak();
      const seconds = median(await runSeconds(device, run, { runs, signal, after }));
      const deviceMiB = digits(device.memory.peak / 2 ** 20);
      const sizes = { tokens, sequence, precision, ...(recompute ? { recompute: "yes" } : {}), deviceMiB };
      results.push({
        name,
        ...place(device),
        sizes,
        ...withFloor(seconds, operations / (peak.gflops * 1e9)),
        ...speeds(seconds),
      });
      for (const { step, turns: peer } of turns) {
        for (const measured of peer.results()) {
          results.push({
            name: step ? `${name}, AdamW's step with it` : name,
            device: measured.device,
            sizes: { tokens, sequence },
            seconds: digits(measured.seconds),
            ...speeds(measured.seconds),
          });
        }
      }
      if (flags.profile) {
        const profile = await device.profile(run);
        profiles.push({ name, sizes, seconds, kernels: profile.entries, gflops: peak.gflops, gbs: bandwidth.gbs });
      }
    }
  }
  return { results, profiles };
}

/** The fastest of our products on matrix units. */
async function productPeak({ device, flags, signal }: DeviceInput): Promise<BenchResult & { gflops: number }> {
  const n = isRealGpu(device) ? 4096 : 128;
  using x = randomTensor(device, [n, n]);
  using w = randomMatrix(device, { kind: "bf16", rows: n, columns: n, precision: "f16" });
  const launches = [() => matmul(x, w).dispose()];
  const seconds = Math.min(...(await launchSeconds(device, launches, { runs: Math.max(5, flags.runs), signal })));
  const gflops = digits((2 * n ** 3) / seconds / 1e9);
  return { name: "product, float16", ...place(device), sizes: { n }, seconds: digits(seconds), gflops };
}

async function randomModel(
  { device, signal }: DeviceInput,
  json: ReturnType<typeof trainConfig>,
  precision: "f32" | "f16",
): Promise<{ readonly language: LanguageModel; readonly trained: readonly Tensor[] }> {
  const source = "bench train";
  const config = miniMaxM1.parseConfig(json, source);
  const tree = miniMaxM1.weights(config, () => undefined);
  const checkpoint = randomCheckpoint(tree, "f32");
  const weights = await loadWeights(device, checkpoint, tree, { source, precision, signal });
  const tensors = namedRows(tree, weights, (name) => checkpoint.entries.has(name));
  const language = { ...miniMaxM1.build(device, config, weights), tensors };
  return { language, trained: trainableTensors(tensors) };
}

/** Ids without meaning, the same each time. */
function randomTexts(count: number, length: number, vocabSize: number): number[][] {
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // Numerical Recipes
    return Math.floor((state / 2 ** 32) * vocabSize);
  };
  return Array.from({ length: count }, () => Array.from({ length }, next));
}
