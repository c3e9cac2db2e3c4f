/** The engine's captured decode step, timed from a given context. */
import type { Sequence, SequencePool } from "../../cache/index.js";
import type { Profile } from "../../device/index.js";
import { controlWords } from "../../generate/controls.js";
import { DecodeBatch, RING_STEPS } from "../../generate/decode-batch.js";
import { greedyRequest } from "../../generate/index.js";
import type { LanguageModel } from "../../models/index.js";
import { CONTROL_WORDS } from "../../ops/index.js";
import { median, runSeconds, type TimingOptions } from "./timing.js";

/** Steps between two looks at the output, as the engine takes them. */
export const DECODE_STEPS = 16;

export interface DecodeTiming {
  /** Of one step, median. */
  readonly seconds: number;
  /** Of `DECODE_STEPS` steps. */
  readonly profile: Profile | undefined;
}

/** Sequences seated in a captured decode step; `run` starts from the same length every time. */
export interface SeatedBatch extends Disposable {
  seat(): void;
  /** Steps from where the sequences are, and their output on the host. */
  run(steps: number): Promise<void>;
}

/** Seats `sequences`, whose caches hold `context` tokens and have room for the steps to come. */
export function decodeBatch(
  language: LanguageModel,
  pool: SequencePool,
  sequences: readonly Sequence[],
  context: number,
): SeatedBatch {
  const batch = sequences.length;
  const steps = new DecodeBatch(language, pool, 2 ** Math.ceil(Math.log2(batch)));
  const seat = () => {
    for (const { slot } of sequences) writeControls(pool, slot, context);
    steps.seat(sequences.map(({ slot }, i) => ({ slot, token: (i + 16) % language.vocabSize, position: context })));
  };
  seat();
  return {
    seat,
    async run(count) {
      steps.run(count, context + count + 1);
      const outputs = await steps.outputs(count);
      const last = outputs.at(-1)?.slice(0, batch);
      if (!last?.every(({ slot }) => slot >= 0)) throw new Error("internal: a sequence ended while it was timed");
    },
    [Symbol.dispose]: () => steps.dispose(),
  };
}

/** Times steps of all `sequences` together. Their caches hold `context` tokens and have room for DECODE_STEPS + 1 more. */
export async function timeDecodeSteps(
  language: LanguageModel,
  pool: SequencePool,
  sequences: readonly Sequence[],
  options: TimingOptions & { readonly context: number; readonly profile?: boolean },
): Promise<DecodeTiming> {
  const { device } = language;
  using batch = decodeBatch(language, pool, sequences, options.context);
  const run = () => batch.run(DECODE_STEPS);
  const before = () => batch.seat();
  const seconds = median(await runSeconds(device, run, { ...options, before })) / DECODE_STEPS;
  if (!options.profile) return { seconds, profile: undefined };
  before();
  return { seconds, profile: await device.profile(run) };
}

function writeControls(pool: SequencePool, slot: number, position: number): void {
  const words = controlWords(
    greedyRequest([], RING_STEPS),
    // The token that is fed now gets `position`, the first one that is sampled the next.
    position + 1,
    pool.maxTokens,
  );
  const byteLength = CONTROL_WORDS * 4;
  const { allocation, byteOffset } = pool.controls;
  pool.device.write({ allocation, byteOffset: byteOffset + slot * byteLength, byteLength }, words);
}
