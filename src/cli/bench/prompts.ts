/** Prompts for timing: ids without meaning, the same in every run, read as the engine reads a prompt. */
import type { Sequence, SequencePool } from "../../cache/index.js";
import type { LanguageModel } from "../../models/index.js";
import { buildStep } from "../../nn/index.js";

/** `count` ids spread over the vocabulary (a linear congruence, so that experts and rows vary). */
export function promptIds(count: number, vocabSize: number, seed = 1): number[] {
  let state = seed >>> 0;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // Numerical Recipes
    return Math.floor((state / 2 ** 32) * vocabSize);
  });
}

/** Feeds `ids` to an empty sequence in chunks; the logits of the last one are computed and dropped. */
export function feed(language: LanguageModel, pool: SequencePool, sequence: Sequence, ids: readonly number[]): void {
  const chunk = language.device.kind === "webgpu" ? 2048 : 512; // the engine's defaults
  for (let past = 0; past < ids.length; past += chunk) {
    const piece = ids.slice(past, past + chunk);
    using step = buildStep(language.device, [{ slot: sequence.slot, past, ids: piece }]);
    language.forward(step, pool).dispose();
    language.device.flush();
    sequence.length = past + piece.length;
  }
}
