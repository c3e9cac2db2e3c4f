/**
 * Compiling a model's kernels before its first prompt, on WebGPU: while weights stream to the device its compiler has nothing
 * else to do. A short prompt and decode steps of one sequence are walked through without being launched.
 *
 * Our choice: a prompt of 16 tokens, a short question. Longer ones choose some other kernels, which are compiled when they come.
 */
import type { SequencePool } from "../cache/index.js";
import type { LanguageModel } from "../models/index.js";
import { buildStep } from "../nn/index.js";
import { advance, markSeen, OUTPUT_WORDS, sample } from "../ops/index.js";
import { zeros } from "../tensor/index.js";
import { DecodeBatch } from "./decode-batch.js";

const PROMPT_TOKENS = 16;

/** Starts compiling; nothing else than compiled kernels is left behind. The weights may be undefined yet. */
export async function rehearse(model: LanguageModel, pool: SequencePool): Promise<void> {
  const { device } = model;
  if (device.kind !== "webgpu") return; // Wasm kernels are compiled already
  let compiled: Promise<unknown>;
  {
    const length = Math.min(PROMPT_TOKENS, pool.maxTokens - 1);
    using sequence = pool.open();
    sequence.reserve(length + 1);
    using step = buildStep(device, [{ slot: sequence.slot, past: 0, ids: new Array<number>(length).fill(0) }]);
    using decode = new DecodeBatch(model, pool, 1);
    const prompt = device.rehearse(() => {
      using ring = zeros(device, [1, 1, OUTPUT_WORDS], "i32");
      using ringHead = zeros(device, [1], "i32");
      markSeen(pool.seen, step);
      {
        using logits = model.forward(step, pool);
        sample(logits, pool.controls, pool.seen, step);
      }
      sequence.snapshot().dispose();
      advance(step, pool.controls, pool.seen, ring, ringHead);
    });
    const answer = device.rehearse(() => decode.rehearse(length + 1), true);
    compiled = Promise.all([prompt, answer]);
  }
  await compiled;
}
