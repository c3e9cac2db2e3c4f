import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { type Script, scriptedSource } from "../../test/scripted-source.js";
import { type ChatTerminal, chatLoop } from "./chat-loop.js";
import { ChatSession } from "./chat-session.js";
import { InterruptedError } from "./output.js";

function start(script: Script, options: Partial<ChatTerminal> = {}) {
  const source = scriptedSource(script);
  const input = new PassThrough();
  const output = new PassThrough();
  const talk = new PassThrough();
  const loop = chatLoop(new ChatSession(source), { input, output, talk, isInteractive: false, ...options });
  const over = async () => {
    try {
      await loop;
    } finally {
      output.end();
      talk.end();
    }
    return { output: await text(output), talk: await text(talk) };
  };
  return { source, input, over };
}

describe("chat loop over a pipe", () => {
  test("answers each line, with the answers alone on its output", async () => {
    const { source, input, over } = start({ reasoning: ["Hm."], answer: ["Hello", "!"] });
    input.end("Hi\n\n/dance\nAgain\nlast line without an end");
    expect(await over()).toEqual({
      output: "Hello!\nHello!\nHello!\n",
      talk: "There is no /dance; /help lists the commands.\n",
    });
    expect(source.calls.map(({ messages }) => messages.at(-1)?.content)).toEqual([
      "Hi",
      "Again",
      "last line without an end",
    ]);
  });

  test("shows the thinking beside them when asked", async () => {
    const { input, over } = start({ reasoning: ["Hm."], answer: [" Hello"] }, { showThinking: true });
    input.end("Hi\n");
    expect(await over()).toEqual({ output: "Hello\n", talk: "Hm.\n" });
  });

  test("/exit ends it before later lines", async () => {
    const { source, input, over } = start({});
    input.end("/exit\nHi\n");
    expect((await over()).output).toBe("");
    expect(source.calls).toEqual([]);
  });

  test("a failed answer is said, and the chat goes on", async () => {
    const { input, over } = start({ failure: new Error("the prompt is too long") });
    input.end("Hi\n/clear\n");
    expect((await over()).talk).toBe("the prompt is too long\nThe conversation starts anew.\n");
  });

  test("an interrupt from outside stops the answer and the loop", async () => {
    const stop = new AbortController();
    const { source, input, over } = start({ hold: true }, { signal: stop.signal });
    input.write("Hi\n");
    await source.until(() => source.active === 1);
    stop.abort();
    await expect(over()).rejects.toThrow(InterruptedError);
    expect(source.active).toBe(0);
  });
});

describe("chat loop on a terminal", () => {
  const ctrlC = "\x03";

  test("Ctrl-C stops the answer and not the chat; Ctrl-D leaves", async () => {
    const { source, input, over } = start({ hold: true }, { isInteractive: true });
    input.write("Hi\r");
    await source.until(() => source.active === 1);
    input.write(ctrlC);
    await source.until(() => source.active === 0);
    source.release();
    input.write("Again\r");
    await source.until(() => source.calls.length === 2 && source.active === 0);
    input.write("\x04");
    const { output, talk } = await over();
    expect(output).toBe("Hello\nHello there\n");
    expect(talk).toContain("(stopped)");
    expect(talk).toContain("2 tokens at 50 tokens/s, the first after 12 ms");
  });

  test("Ctrl-C clears a line, then warns, then leaves", async () => {
    const { source, input, over } = start({}, { isInteractive: true });
    input.write(`half a line${ctrlC}`);
    input.write(ctrlC);
    input.write(ctrlC);
    await expect(over()).rejects.toThrow(InterruptedError);
    expect(source.calls).toEqual([]);
  });
});
