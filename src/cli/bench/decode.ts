/**
 * `bench decode`: tokens a second while several sequences are continued, at given contexts.
 *
 * Runs the engine's own captured step: embedding to sampled token and back, replayed without the host.
 */
import { cacheKind, SequencePool } from "../../cache/index.js";
import { UsageError } from "../output.js";
import { type BenchResult, digits, type NamedProfile, place, type SuiteOutput, withFloor } from "./bench-result.js";
import { DECODE_STEPS, timeDecodeSteps } from "./decode-steps.js";
import { readConfig } from "./model-config.js";
import { feed, promptIds } from "./prompts.js";
import { streamBandwidth } from "./roofs.js";
import { decodeStepBytes, weightShares } from "./step-bytes.js";
import type { ModelInput } from "./suites.js";

export async function decodeSuite(input: ModelInput): Promise<SuiteOutput> {
  const { model, signal, flags, say, peers } = input;
  const { language, device } = model;
  const { runs, kv, batch: batches = [1, 2, 4, 8], context: contexts = [512] } = flags;
  const room = DECODE_STEPS + 1;
  const most = language.state.maxPositions - room;
  for (const context of contexts) {
    if (context > most)
      throw new UsageError(
        `--context ${context}: ${model.name} reaches ${most} before the timed steps; --positions ${context + room} makes it longer`,
      );
  }
  say("measuring the memory's bandwidth");
  const bandwidth = await streamBandwidth(device, { runs, signal });
  const shares = await weightShares(flags.model);
  const config = await readConfig(flags.model);
  const bits = cacheKind(kv).bits(language.state);
  const results: BenchResult[] = [bandwidth];
  const profiles: NamedProfile[] = [];
  for (const context of contexts) {
    for (const batch of batches) {
      const sizes = { batch, context, kv };
      say(`decode, batch ${batch}: reading prompts of ${context} tokens`);
      // Positions past the context are written by the steps that are timed.
      using pool = new SequencePool(device, language.state, { slots: batch, kv, maxTokens: context + room });
      const sequences = Array.from({ length: batch }, () => pool.open());
      for (const [i, sequence] of sequences.entries()) {
        signal.throwIfAborted();
        sequence.reserve(context + room);
        feed(language, pool, sequence, promptIds(context, language.vocabSize, i + 1));
        await device.idle();
      }
      say(`decode, batch ${batch}: ${runs} runs of ${DECODE_STEPS} steps`);
      const beside = peers.beside({ suite: "decode", config, batch, context, steps: DECODE_STEPS });
      const timing = { runs, signal, context, after: beside.measure, profile: flags.profile === true };
      const { seconds, profile } = await timeDecodeSteps(language, pool, sequences, timing);
      const bytes = decodeStepBytes(language, shares, { batch, length: context, cacheBits: bits });
      results.push({
        name: "decode",
        ...place(device),
        sizes,
        ...withFloor(seconds, bytes / (bandwidth.gbs * 1e9)),
        gbs: digits(bytes / seconds / 1e9),
        tokensPerSecond: digits(batch / seconds),
      });
      for (const peer of beside.results()) {
        const { device, seconds } = peer;
        const tokensPerSecond = digits(batch / seconds);
        results.push({ name: "decode", device, sizes: { batch, context }, seconds: digits(seconds), tokensPerSecond });
      }
      if (profile) {
        const name = `decode, ${DECODE_STEPS} steps`;
        const { gbs } = bandwidth;
        profiles.push({ name, sizes, seconds: seconds * DECODE_STEPS, kernels: profile.entries, gbs });
      }
    }
  }
  return { results, profiles };
}
