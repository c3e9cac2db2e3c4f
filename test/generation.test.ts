/** Generation end to end with the shipped model on the CPU device: budgets, stops, batches, continued conversations. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CpuDevice } from "../src/device/index.js";
import { type ChatOptions, type ChatPart, chat, complete, loadModel, type Model } from "../src/generate/index.js";
import type { ChatMessage } from "../src/text/index.js";

const folder = new URL("../models/fulgur-mini", import.meta.url).pathname;
const user = (content: string): ChatMessage[] => [{ role: "user", content }];

let device: CpuDevice;
let model: Model;
beforeAll(async () => {
  device = await CpuDevice.open({ threads: 2 });
  model = await loadModel(folder, { device, slots: 4 });
});
afterAll(async () => {
  await model.close();
  expect(device.memory.live).toBe(0);
  await device.close();
});

type Done = Extract<ChatPart, { kind: "done" }>;

async function collect(parts: AsyncIterable<ChatPart>): Promise<{ reasoning: string; answer: string; done: Done }> {
  const text = { reasoning: "", answer: "" };
  for await (const part of parts) {
    if (part.kind === "done") return { ...text, done: part };
    text[part.kind] += part.text;
  }
  throw new Error("the stream ended without its last part");
}

const ask = (content: string, options: ChatOptions = {}, on = model) => collect(chat(on, user(content), options));

describe("chat", () => {
  test("thinks, answers, and counts", async () => {
    const { reasoning, answer, done } = await ask("What is 347 + 58?");
    expect(answer).toBe("347 + 58 = 405");
    expect(reasoning).toContain("write 5, carry 1");
    expect(done.finishReason).toBe("stop");
    expect(done.usage.promptTokens).toBe(15);
    // All but the two markers, the answer and the end token.
    expect(done.usage.reasoningTokens).toBeGreaterThan(60);
    expect(done.usage.tokens).toBeGreaterThan(done.usage.reasoningTokens + 5);
    expect(done.timings.firstTokenMs).toBeGreaterThan(0);
  });

  test("a direct answer has no reasoning", async () => {
    const { reasoning, answer } = await ask("What is 3 + 4?", { enableThinking: false });
    expect(reasoning).toBe("");
    expect(answer).toBe("3 + 4 = 7");
  });

  test.each([0, 1, 7, 30])(
    "a thinking budget of %i tokens closes the thinking exactly there",
    async (thinkingBudget) => {
      const { done, answer } = await ask("What is 347 + 58?", { thinkingBudget, maxTokens: 120 });
      expect(done.usage.reasoningTokens).toBe(thinkingBudget);
      expect(answer).not.toContain("think>");
      expect(answer.length).toBeGreaterThan(0);
    },
  );

  test("a budget over markers that are plain text is counted by the host", async () => {
    const { thinking } = model;
    if (!thinking) throw new Error("fulgur-mini thinks");
    const asText: Model = { ...model, thinking: { ...thinking, openId: undefined, closeId: undefined } };
    const byText = await ask("What is 347 + 58?", { thinkingBudget: 12 }, asText);
    const byToken = await ask("What is 347 + 58?", { thinkingBudget: 12 });
    expect(byText.reasoning).toBe(byToken.reasoning);
    expect(byText.answer).toBe(byToken.answer);
  });

  test("stop texts end the answer and are not part of it", async () => {
    const { answer, done } = await ask("What is 347 + 58?", { stop: ["= 4", "nothing"] });
    expect(answer).toBe("347 + 58 ");
    expect(done.stopped).toBe("= 4");
    // A stop text does not look into the thinking.
    expect((await ask("What is 347 + 58?", { stop: ["carry"] })).answer).toBe("347 + 58 = 405");
  });

  test("maxTokens ends with `length`", async () => {
    const { done } = await ask("Tell me a story about a fox.", { maxTokens: 9 });
    expect(done.finishReason).toBe("length");
    expect(done.usage.tokens).toBe(9);
  });

  test("runaway repetition stops early", async () => {
    const options = { repetitionStop: { tokens: 20, probability: 0.9 }, maxTokens: 400 };
    // Copying is certain, token after token.
    const { done } = await ask(`Repeat: ${"one two three four ".repeat(12)}`, options);
    expect(done.finishReason).toBe("repetition");
  });

  test("sampling repeats with its seed and differs without", async () => {
    const options = { temperature: 1, maxTokens: 24 };
    const story = "Tell me a story about a fox.";
    const first = await ask(story, { ...options, seed: 5 });
    expect((await ask(story, { ...options, seed: 5 })).answer).toBe(first.answer);
    const others = await Promise.all([6, 7, 8].map((seed) => ask(story, { ...options, seed })));
    expect(new Set([first, ...others].map(({ answer, reasoning }) => reasoning + answer)).size).toBeGreaterThan(1);
  });

  test("bad options are named", async () => {
    await expect(ask("hi", { temperature: -1 })).rejects.toThrowErrorMatchingInlineSnapshot(
      `[RangeError: temperature expected a number ≥ 0, got -1]`,
    );
    await expect(ask("hi", { topP: 0 })).rejects.toThrowErrorMatchingInlineSnapshot(
      `[RangeError: topP expected 0 < topP ≤ 1, got 0]`,
    );
    const long = "word ".repeat(9000);
    await expect(ask(long)).rejects.toThrow(/the prompt has \d+ tokens; this model's context here holds 8192/);
  });
});

describe("several conversations", () => {
  const questions = [
    "What is 347 + 58?",
    "Reverse the word lantern.",
    "Is 1900 a leap year?",
    "What is 23 * 47?",
    "What is a harbour?",
  ];

  test("in one batch give each the text that it has alone", async () => {
    const alone: string[] = [];
    for (const question of questions) {
      const { reasoning, answer } = await ask(question, { maxTokens: 80 });
      alone.push(`${reasoning}|${answer}`);
    }
    // Five at once in four slots: one waits; the others leave the batch at different times.
    const together = await Promise.all(questions.map((question) => ask(question, { maxTokens: 80 })));
    expect(together.map(({ reasoning, answer }) => `${reasoning}|${answer}`)).toEqual(alone);
  });

  test("an aborted one leaves the others alone", async () => {
    const controller = new AbortController();
    const aborted = (async () => {
      for await (const part of chat(model, user("Tell me a story about a fox."), { signal: controller.signal })) {
        if (part.kind === "answer") controller.abort();
      }
    })();
    const [other] = await Promise.all([ask("What is 347 + 58?"), expect(aborted).rejects.toThrow(/abort/i)]);
    expect(other.answer).toBe("347 + 58 = 405");
  });

  test("leaving the loop stops the work", async () => {
    for await (const part of chat(model, user("Tell me a story about a fox."))) if (part.kind === "answer") break;
    const launches = device.launches;
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(device.launches).toBe(launches);
  });
});

describe("a conversation that goes on", () => {
  test("prefills its new turn only, with the same result as afresh", async () => {
    const first = await ask("Remember: blind = friend. breath = penny. waist = fishing. Which word belongs to breath?");
    const messages: ChatMessage[] = [
      ...user("Remember: blind = friend. breath = penny. waist = fishing. Which word belongs to breath?"),
      { role: "assistant", content: `<think>${first.reasoning}</think>${first.answer}` },
      ...user("Which word belongs to waist?"),
    ];
    const continued = await collect(chat(model, messages));
    expect(continued.done.usage.cachedTokens).toBeGreaterThan(20);

    await using fresh = await loadModel(folder, { device, slots: 1 });
    const again = await collect(chat(fresh, messages));
    expect(again.done.usage.cachedTokens).toBe(0);
    expect(continued.answer).toBe(again.answer);
    expect(continued.reasoning).toBe(again.reasoning);
  });

  test("another turn than the one generated goes back to the end of the prompt", async () => {
    const question = user("Which is larger, 9.8 or 9.11?");
    await collect(chat(model, question));
    const messages: ChatMessage[] = [
      ...question,
      { role: "assistant", content: "<think></think>I would rather not say." },
      ...user("What is 3 + 4?"),
    ];
    const continued = await collect(chat(model, messages));
    await using fresh = await loadModel(folder, { device, slots: 1 });
    const again = await collect(chat(fresh, messages));
    expect(continued.done.usage.cachedTokens).toBeGreaterThan(0);
    expect(`${continued.reasoning}|${continued.answer}`).toBe(`${again.reasoning}|${again.answer}`);
  });
});

test("plain text is continued", async () => {
  const { answer, done } = await collect(complete(model, "It was a bright cold morning, and", { maxTokens: 12 }));
  expect(done.usage.tokens).toBe(12);
  expect(answer.length).toBeGreaterThan(10);
});
