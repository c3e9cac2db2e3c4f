/**
 * `bench decode`: tokens a second while several sequences are continued, at a given context.
 *
 * Runs the engine's own captured step: embedding to sampled token and back, replayed without the host.
 */
import { SequencePool } from "../../cache/index.js";
import { controlWords } from "../../generate/controls.js";
import { DecodeBatch, RING_STEPS } from "../../generate/decode-batch.js";
import { CONTROL_WORDS } from "../../ops/index.js";
import { cacheBits } from "../cache-bits.js";
import { type BenchResult, digits, type NamedProfile, place, type SuiteOutput, withFloor } from "./bench-result.js";
import { feed, promptIds } from "./prompts.js";
import { streamBandwidth } from "./roofs.js";
import { decodeStepBytes, weightShares } from "./step-bytes.js";
import type { SuiteInput } from "./suites.js";
import { median, runSeconds } from "./timing.js";

const STEPS = 16;

export async function decodeSuite(input: SuiteInput): Promise<SuiteOutput> {
  const { model, signal, flags, say } = input;
  const { language, device } = model;
  const { context, runs, kv } = flags;
  say("measuring the memory's bandwidth");
  const bandwidth = await streamBandwidth(device, { runs, signal });
  const shares = await weightShares(flags.model);
  const bits = cacheBits(kv);
  const results: BenchResult[] = [bandwidth];
  const profiles: NamedProfile[] = [];
  for (const batch of flags.batch) {
    const sizes = { batch, context, kv };
    say(`decode, batch ${batch}: reading prompts of ${context} tokens`);
    // Positions past the context are written by the steps that are timed.
    using pool = new SequencePool(device, language.state, { slots: batch, kv, maxTokens: context + STEPS + 1 });
    const sequences = Array.from({ length: batch }, () => pool.open());
    for (const [i, sequence] of sequences.entries()) {
      signal.throwIfAborted();
      sequence.reserve(context + STEPS + 1);
      feed(language, pool, sequence, promptIds(context, language.vocabSize, i + 1));
      await device.idle();
    }
    using steps = new DecodeBatch(language, pool, 2 ** Math.ceil(Math.log2(batch)));
    // Every run starts from the same length.
    const before = () => {
      for (const { slot } of sequences) writeControls(pool, slot, context);
      steps.seat(sequences.map(({ slot }, i) => ({ slot, token: (i + 16) % language.vocabSize, position: context })));
    };
    const run = async () => {
      steps.run(STEPS, context + STEPS + 1);
      const outputs = await steps.outputs(STEPS);
      const last = outputs.at(-1)?.slice(0, batch);
      if (!last?.every(({ slot }) => slot >= 0)) throw new Error("internal: a sequence ended while it was timed");
    };
    say(`decode, batch ${batch}: ${runs} runs of ${STEPS} steps`);
    const seconds = median(await runSeconds(device, run, { runs, signal, before })) / STEPS;
    const bytes =
      bits === undefined ? undefined : decodeStepBytes(language, shares, { batch, length: context, cacheBits: bits });
    results.push({
      name: "decode",
      ...place(device),
      sizes,
      ...(bytes === undefined
        ? { seconds: digits(seconds) }
        : { ...withFloor(seconds, bytes / (bandwidth.gbs * 1e9)), gbs: digits(bytes / seconds / 1e9) }),
      tokensPerSecond: digits(batch / seconds),
    });
    if (flags.profile) {
      before();
      const profile = await device.profile(run);
      profiles.push({ name: `decode, ${STEPS} steps`, sizes, seconds: profile.seconds, kernels: profile.entries });
    }
  }
  return { results, profiles };
}

function writeControls(pool: SequencePool, slot: number, position: number): void {
  const words = controlWords(
    {
      promptIds: [],
      sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 },
      maxTokens: RING_STEPS,
      stopIds: [],
      repetitionStop: { tokens: 0, probability: 1 },
      thinking: undefined,
      closingIds: [],
      stepwise: false,
      signal: undefined,
    },
    // The token that is fed now gets `position`, the first one that is sampled the next.
    position + 1,
    pool.maxTokens,
  );
  const byteLength = CONTROL_WORDS * 4;
  const { allocation, byteOffset } = pool.controls;
  pool.device.write({ allocation, byteOffset: byteOffset + slot * byteLength, byteLength }, words);
}
