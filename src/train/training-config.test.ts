import { describe, expect, test } from "vitest";
import { parseTrainingConfig } from "./training-config.js";

const least = {
  model: "models/fulgur-mini",
  data: { sources: [] },
  steps: 10,
  batch: { tokens: 256, sequence: 128 },
  optimiser: { learningRate: 1e-3 },
};

const complaint = (change: object): string => {
  try {
    parseTrainingConfig({ ...least, ...change }, "a.json");
    return "nothing";
  } catch (error) {
    return (error as Error).message;
  }
};

describe("parseTrainingConfig", () => {
  test("fills in what is left out", () => {
    expect(parseTrainingConfig(least, "a.json")).toMatchObject({
      batch: { tokens: 256, sequence: 128, accumulate: 1 },
      optimiser: { kind: "adamw", learningRate: 1e-3, maxNorm: 1 },
      schedule: { kind: "cosine" },
      precision: "f32",
      recompute: false,
      checkpoints: { keep: 3 },
      seed: 0,
    });
  });

  test("names file, field and what was expected", () => {
    expect(complaint({ steps: 0, precision: "f8" })).toMatchInlineSnapshot(
      `"a.json: steps: expected a whole number from 1; precision: expected "f32" or "f16""`,
    );
    expect(complaint({ optimiser: {} })).toMatchInlineSnapshot(
      `"a.json: optimiser.learningRate: missing, expected a number above 0"`,
    );
    expect(complaint({ optimiser: { kind: "muon", learningRate: 1, emaDecay: 0.9 } })).toMatchInlineSnapshot(
      `"a.json: optimiser.emaDecay: is kept with adamw only"`,
    );
    expect(complaint({ step: 5 })).toMatchInlineSnapshot(`"a.json: the file: there is no field step"`);
    expect(complaint({ schedule: { kind: "linear" } })).toMatchInlineSnapshot(
      `"a.json: schedule.kind: expected an object with kind "constant", "cosine" or "wsd""`,
    );
    expect(complaint({ batch: { tokens: 64, sequence: 128 } })).toMatchInlineSnapshot(
      `"a.json: batch.sequence: a row of 128 tokens does not fit into a batch of 64"`,
    );
    expect(complaint({ model: { config: {} } })).toMatchInlineSnapshot(
      `"a.json: model: expected a model folder, or { "config": …, "tokenizer": … } for a model from scratch"`,
    );
  });
});
