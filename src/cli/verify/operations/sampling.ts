/** Sampling filters: kept sets and probabilities after temperature, top-k, top-p and min-p. */
import { z } from "zod";
import type { Device } from "../../../device/index.js";
import { buildStep } from "../../../nn/index.js";
import { CONTROL, CONTROL_WORDS, filteredProbabilities } from "../../../ops/index.js";
import { upload, zeros } from "../../../tensor/index.js";
import type { Check } from "../compare.js";
import { relativeRms } from "../compare.js";
import { parseReference, type ReferenceTensors } from "../goldens-file.js";

const TOLERANCE = 1e-5;

const schema = z.looseObject({
  cases: z.array(
    z.looseObject({
      logits: z.string(),
      probs: z.string(),
      params: z.looseObject({
        temperature: z.number().optional(),
        top_k: z.number().optional(),
        top_p: z.number().optional(),
        min_p: z.number().optional(),
      }),
      kept: z.array(z.number().int()),
    }),
  ),
});

export async function* checkSampling(
  device: Device,
  json: unknown,
  reference: ReferenceTensors,
): AsyncGenerator<Check> {
  for (const { logits, probs, params, kept } of parseReference(schema, json, "sampling.json").cases) {
    const values = Float32Array.from(await reference.values(logits));
    const V = values.length;
    const words = new Int32Array(CONTROL_WORDS);
    const floats = new Float32Array(words.buffer);
    words[CONTROL.active] = 1;
    floats[CONTROL.temperature] = params.temperature ?? 1;
    words[CONTROL.topK] = params.top_k ?? 0;
    floats[CONTROL.topP] = params.top_p ?? 1;
    floats[CONTROL.minP] = params.min_p ?? 0;
    floats[CONTROL.repetitionPenalty] = 1;
    using controls = upload(device, words, [1, CONTROL_WORDS], "i32");
    using seen = zeros(device, [1, Math.ceil(V / 32)], "u32");
    using step = buildStep(device, [{ slot: 0, past: 0, ids: [0] }]);
    using x = upload(device, values, [1, V]);
    using out = filteredProbabilities(x, controls, seen, step);
    const got = await out.readFloat32();
    const set = [...got.keys()].filter((i) => (got[i] as number) > 0);
    const sameSet = set.join() === [...kept].sort((a, b) => a - b).join();
    const error = relativeRms(got, await reference.values(probs));
    yield {
      name: `sampling ${probs} ${JSON.stringify(params)}`,
      passed: sameSet && error <= TOLERANCE,
      detail: `${sameSet ? `the same ${kept.length} tokens` : `kept ${set.length} tokens, expected ${kept.length}`}, relative RMS ${error.toExponential(2)}`,
    };
  }
}
