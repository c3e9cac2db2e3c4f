/**
 * `bench prefill`: tokens a second while a prompt is read.
 *
 * Floor  the matrices' products at the speed of the fastest kind of product here, and attention's at that of float32 on the CPU
 *        (its keys and values are float32), of the fastest kind on a GPU.
 */
import { SequencePool } from "../../cache/index.js";
import { UsageError } from "../output.js";
import { type BenchResult, digits, type NamedProfile, place, type SuiteOutput, withFloor } from "./bench-result.js";
import { readConfig } from "./model-config.js";
import { feed, promptIds } from "./prompts.js";
import { productSpeeds } from "./roofs.js";
import { promptAttention, promptOperations, weightShares } from "./step-bytes.js";
import type { ModelInput } from "./suites.js";
import { median, runSeconds } from "./timing.js";

export async function prefillSuite(input: ModelInput): Promise<SuiteOutput> {
  const { model, signal, flags, say, peers } = input;
  const { language, device } = model;
  const { runs, kv, lengths = [512, 2048] } = flags;
  const most = language.state.maxPositions;
  for (const tokens of lengths) {
    if (tokens > most)
      throw new UsageError(
        `--lengths ${tokens}: ${model.name} reads at most ${most} tokens; --positions ${tokens} makes it longer`,
      );
  }
  say("measuring matrix products");
  const products = await productSpeeds(device, { runs, signal });
  const peak = Math.max(...products.map(({ gflops }) => gflops)) * 1e9;
  const wide = products.find(({ name }) => name === "product f32")?.gflops ?? 0;
  const attentionPeak = device.kind === "cpu" && wide > 0 ? wide * 1e9 : peak;
  const shares = await weightShares(flags.model);
  const config = await readConfig(flags.model);
  const heads = Number(Object(config).num_attention_heads ?? 0);
  const results: BenchResult[] = [...products];
  const profiles: NamedProfile[] = [];
  for (const tokens of lengths) {
    const sizes = { tokens, kv };
    const ids = promptIds(tokens, language.vocabSize);
    using pool = new SequencePool(device, language.state, { slots: 1, kv, maxTokens: tokens });
    const run = () => {
      using sequence = pool.open();
      sequence.reserve(tokens);
      feed(language, pool, sequence, ids);
    };
    say(`prefill, ${tokens} tokens: ${runs} runs`);
    const beside = peers.beside({ suite: "prefill", config, tokens });
    const seconds = median(await runSeconds(device, run, { runs, signal, after: beside.measure }));
    const matrices = promptOperations(language.parameters.active, shares, tokens);
    const attention = promptAttention(language, heads, tokens);
    const operations = matrices + attention;
    results.push({
      name: "prefill",
      ...place(device),
      sizes,
      ...withFloor(seconds, matrices / peak + attention / attentionPeak),
      gflops: digits(operations / seconds / 1e9),
      tokensPerSecond: digits(tokens / seconds),
    });
    for (const peer of beside.results()) {
      const { device, seconds } = peer;
      const tokensPerSecond = digits(tokens / seconds);
      results.push({ name: "prefill", device, sizes: { tokens }, seconds: digits(seconds), tokensPerSecond });
    }
    if (flags.profile) {
      const profile = await device.profile(run);
      profiles.push({ name: "prefill", sizes, seconds, kernels: profile.entries, gflops: peak / 1e9 });
    }
  }
  return { results, profiles };
}
