import { expect, test } from "vitest";
import type { StepReport } from "../../train/trainer.js";
import { durationText, progressText } from "./step-line.js";

const report = (step: number, over: Partial<StepReport> = {}): StepReport => ({
  ...{ step, loss: 2, gradientNorm: 1, rate: 0.001, tokens: 1000, targets: 900, seconds: 0.5 },
  ...{ flops: 1e12, lossScale: 1, isGood: true, skipped: 0, ...over },
});

test("the newest steps in a line", () => {
  expect(progressText([report(1), report(2, { loss: 1 })], 100, 3 * 2 ** 20)).toMatchInlineSnapshot(
    `"step 2 of 100 · loss 1.5000 · 2000 tokens/s · 2.00 TFLOP/s · 3.0 MiB · 49 s left"`,
  );
  expect(progressText([report(100, { tokens: 1e6, skipped: 3 })], 100, 0)).toMatchInlineSnapshot(
    `"step 100 of 100 · loss 2.0000 · 2000.0k tokens/s · 2.00 TFLOP/s · 0 B · 0 s left · 3 skipped"`,
  );
  expect(progressText([], 100, 0)).toBe("");
});

test("time left", () => {
  expect([0.2, 59, 61, 3599, 3700, 90_000].map(durationText)).toEqual([
    "1 s",
    "59 s",
    "1 min",
    "1 h 0 min",
    "1 h 2 min",
    "25 h 0 min",
  ]);
});
