import { expect, test } from "vitest";
import { drawRecall, evaluateTasks, type RecallProblem, recallScores } from "./index.js";

const prose = "The old man went slowly down to the harbour and looked at the ships. Nobody spoke to him. ".repeat(400);
const countTokens = (text: string): number => text.match(/\w+|[^\w\s]/g)?.length ?? 0;

const draw = () => drawRecall({ lengths: [400, 1800], perLength: 6, prose, countTokens, seed: 3 });

test("the same seed gives the same problems, each of about its length", () => {
  const problems = draw();
  expect(problems).toEqual(draw());
  expect(problems).toHaveLength(12);
  for (const { user, tokens, length, distance } of problems) {
    expect(countTokens(user)).toBe(tokens);
    expect(tokens).toBeGreaterThan(length - 24);
    expect(distance).toBeLessThan(tokens);
  }
  // A length's problems do not depend on which others are drawn.
  expect(drawRecall({ lengths: [1800], perLength: 6, prose, countTokens, seed: 3 })).toEqual(problems.slice(6));
});

test("scores by length and by distance", async () => {
  const problems = draw();
  // Answers what is near: the model of this test forgets everything farther than 512 tokens back.
  const { marked } = await evaluateTasks(async (user) => {
    const problem = problems.find((one) => one.user === user) as RecallProblem;
    return { text: problem.distance <= 512 ? problem.answer : "nothing", tokens: 1 };
  }, problems);
  const { lengths, distances } = recallScores(marked as Parameters<typeof recallScores>[0]);
  expect(lengths.map(({ length, total }) => [length, total])).toEqual([
    [400, 6],
    [1800, 6],
  ]);
  expect(lengths[0]?.accuracy).toBe(1);
  expect(distances.map(({ upTo }) => upTo)).toEqual(
    [512, 1024, 2048].filter((upTo) => distances.some((d) => d.upTo === upTo)),
  );
  for (const { upTo, accuracy } of distances) expect(accuracy).toBe(upTo === 512 ? 1 : 0);
  expect(distances.reduce((sum, { total }) => sum + total, 0)).toBe(12);
});
