import { describe, expect, test } from "vitest";
import { roundTicks } from "./svg-chart.js";
import { trainingReport } from "./training-report.js";

describe("trainingReport", () => {
  test("has a curve for what there is, and no more", () => {
    const metrics = [
      { step: 1, loss: 4, rate: 1e-4, tokens: 100, seconds: 0.5 },
      { step: 2, loss: 3.5, rate: 2e-4, tokens: 100, seconds: 0.5 },
      { step: 2, validationLoss: 3.75 },
    ];
    const page = trainingReport('a <run> & "more"', metrics, "metrics.jsonl");
    expect(page).toContain("a &lt;run&gt; &amp; &quot;more&quot;");
    expect(page.match(/<svg/g)).toHaveLength(3);
    expect(page).toContain("validation");
    expect(page).not.toContain("Norm of the gradient");
    expect(page).toContain("<td>3.7500</td>");
    expect(page).not.toMatch(/NaN|Infinity|undefined/);
  });

  test("of a long run each curve has a few hundred points", () => {
    const metrics = Array.from({ length: 50_000 }, (_, i) => ({ step: i + 1, loss: 5 / (i + 1) }));
    const page = trainingReport("long", metrics, "metrics.jsonl");
    expect(page.length).toBeLessThan(20_000);
  });

  test("of nothing there is a page too", () => {
    expect(trainingReport("empty", [], "metrics.jsonl")).toContain("<h1>empty</h1>");
  });
});

test("ticks are round and span the values", () => {
  expect(roundTicks(0.3, 4.7)).toEqual([0, 1, 2, 3, 4, 5]);
  expect(roundTicks(1e-4, 3e-4)).toEqual([0.0001, 0.00015, 0.0002, 0.00025, 0.0003]);
  expect(roundTicks(5, 5)).toEqual([5, 6]);
  expect(roundTicks(-2, 2)).toEqual([-2, -1, 0, 1, 2]);
});
