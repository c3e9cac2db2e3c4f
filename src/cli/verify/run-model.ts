/** Running a model for verification: logits of given tokens, in one piece, in chunks, token by token, and in a batch. */
import { type Sequence, SequencePool } from "../../cache/index.js";
import { Engine, greedyRequest } from "../../generate/index.js";
import type { LanguageModel } from "../../models/index.js";
import { buildStep } from "../../nn/index.js";
import type { Tensor } from "../../tensor/index.js";

/** Logits [T, V] of each sequence; all in one ragged batch. */
export async function batchLogits(
  model: LanguageModel,
  sequences: readonly (readonly number[])[],
): Promise<Float32Array[]> {
  using pool = new SequencePool(model.device, model.state, {
    slots: sequences.length,
    maxTokens: longest(sequences) + 1,
  });
  const opened = sequences.map((ids) => {
    const sequence = pool.open();
    sequence.reserve(ids.length);
    return sequence;
  });
  using step = buildStep(
    model.device,
    sequences.map((ids, i) => ({ slot: (opened[i] as Sequence).slot, past: 0, ids })),
  );
  using logits = model.forward(step, pool, { logits: "all" });
  const values = await logits.readFloat32();
  let at = 0;
  return sequences.map((ids) => {
    const size = ids.length * model.vocabSize;
    at += size;
    return values.subarray(at - size, at);
  });
}

/**
 * Logits [T, V] of one sequence, fed in pieces: `pieces` sizes in turn, the rest in one. With `onHidden` the hidden states
 * of the first piece are collected too.
 */
export async function piecewiseLogits(
  model: LanguageModel,
  ids: readonly number[],
  pieces: readonly number[],
  hidden?: Map<string, Float32Array>,
): Promise<Float32Array> {
  using pool = new SequencePool(model.device, model.state, { slots: 2, maxTokens: ids.length + 1 });
  // Slot 0 is taken first: sequences must not depend on the slot they sit in.
  using _other = pool.open();
  using sequence = pool.open();
  const result = new Float32Array(ids.length * model.vocabSize);
  let past = 0;
  for (let i = 0; past < ids.length; i++) {
    const piece = ids.slice(past, past + (pieces[i] ?? ids.length));
    sequence.reserve(past + piece.length);
    using step = buildStep(model.device, [{ slot: sequence.slot, past, ids: piece }]);
    const kept: [string, Tensor][] = [];
    using logits = model.forward(step, pool, {
      logits: "all",
      ...(hidden && past === 0 ? { onHidden: (name, tensor) => kept.push([name, tensor.reshape(tensor.shape)]) } : {}),
    });
    for (const [name, tensor] of kept) {
      hidden?.set(name, await tensor.readFloat32());
      tensor.dispose();
    }
    result.set(await logits.readFloat32(), past * model.vocabSize);
    past += piece.length;
    sequence.length = past;
  }
  return result;
}

/** Greedy continuation through the engine: captured decode steps, sampling on the device. */
export async function greedy(model: LanguageModel, promptIds: readonly number[], count: number): Promise<number[]> {
  await using engine = new Engine(model, { slots: 1, maxTokens: promptIds.length + count + 1 });
  const tokens: number[] = [];
  const generation = engine.generate(greedyRequest(promptIds, count));
  for await (const { id } of generation) tokens.push(id);
  return tokens;
}

const longest = (sequences: readonly (readonly number[])[]) => Math.max(...sequences.map((ids) => ids.length));
