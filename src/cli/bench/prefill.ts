/** `bench prefill`: tokens a second while a prompt is read. The floor is that of its products. */
import { SequencePool } from "../../cache/index.js";
import { type BenchResult, digits, type NamedProfile, place, type SuiteOutput, withFloor } from "./bench-result.js";
import { feed, promptIds } from "./prompts.js";
import { productSpeeds } from "./roofs.js";
import { promptOperations, weightShares } from "./step-bytes.js";
import type { SuiteInput } from "./suites.js";
import { median, runSeconds } from "./timing.js";

export async function prefillSuite(input: SuiteInput): Promise<SuiteOutput> {
  const { model, signal, flags, say } = input;
  const { language, device } = model;
  const { runs, kv } = flags;
  say("measuring matrix products");
  const products = await productSpeeds(device, { runs, signal });
  const peak = Math.max(...products.map(({ gflops }) => gflops)) * 1e9;
  const shares = await weightShares(flags.model);
  const results: BenchResult[] = [...products];
  const profiles: NamedProfile[] = [];
  for (const tokens of flags.lengths) {
    const sizes = { tokens, kv };
    const ids = promptIds(tokens, language.vocabSize);
    using pool = new SequencePool(device, language.state, { slots: 1, kv, maxTokens: tokens });
    const run = () => {
      using sequence = pool.open();
      sequence.reserve(tokens);
      feed(language, pool, sequence, ids);
    };
    say(`prefill, ${tokens} tokens: ${runs} runs`);
    const seconds = median(await runSeconds(device, run, { runs, signal }));
    const operations = promptOperations(language.parameters.active, shares, tokens);
    results.push({
      name: "prefill",
      ...place(device),
      sizes,
      ...withFloor(seconds, operations / peak),
      gflops: digits(operations / seconds / 1e9),
      tokensPerSecond: digits(tokens / seconds),
    });
    if (flags.profile) {
      const profile = await device.profile(run);
      profiles.push({ name: "prefill", sizes, seconds: profile.seconds, kernels: profile.entries });
    }
  }
  return { results, profiles };
}
