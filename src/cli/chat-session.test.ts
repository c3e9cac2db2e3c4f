import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Script, scriptedSource } from "../../test/scripted-source.js";
import { ChatSession } from "./chat-session.js";

const never = new AbortController().signal;

async function ask(session: ChatSession, question: string): Promise<string> {
  let text = "";
  for await (const part of session.ask(question, never)) text += part.text;
  return text;
}

async function said(session: ChatSession, line: string): Promise<string> {
  const result = await session.command(line);
  return result === "exit" ? result : result.say;
}

function make(script: Script = {}) {
  const source = scriptedSource(script);
  return { source, session: new ChatSession(source) };
}

describe("chat session", () => {
  test("earlier turns keep their thought", async () => {
    const { source, session } = make({ reasoning: ["Hm", "."], answer: ["Yes."] });
    await said(session, "/system Be brief.");
    await ask(session, "Is it?");
    await ask(session, "Sure?");
    expect(source.calls[1]?.messages).toEqual([
      { role: "system", content: "Be brief." },
      { role: "user", content: "Is it?" },
      { role: "assistant", content: "<think>Hm.</think>Yes." },
      { role: "user", content: "Sure?" },
    ]);
    await said(session, "/clear");
    await said(session, "/system");
    expect(session.messages()).toEqual([]);
  });

  test("an interrupted answer is kept as far as it came, an unanswered question is not", async () => {
    const { source, session } = make({ hold: true });
    const stop = new AbortController();
    const reading = async () => {
      for await (const part of session.ask("Go", stop.signal)) if (part.kind === "answer") stop.abort();
    };
    await expect(reading()).rejects.toThrow("aborted");
    expect(session.history).toEqual([{ question: "Go", reasoning: "", answer: "Hello" }]);
    expect(source.active).toBe(0);

    const failing = make({ failure: new Error("no") });
    await expect(ask(failing.session, "Go")).rejects.toThrow("no");
    expect(failing.session.history).toEqual([]);
  });

  test("commands change what the model is asked for", async () => {
    const { source, session } = make();
    const lines: string[] = [];
    for (const line of [
      "/think on",
      "/think maybe",
      "/budget 64",
      "/budget -1",
      "/budget",
      "/dance",
      "/save",
      "/exit",
    ]) {
      lines.push(`${line} → ${await said(session, line)}`);
    }
    expect(lines.join("\n")).toMatchInlineSnapshot(`
      "/think on → Thinking is on.
      /think maybe → /think expected on, off or auto; got maybe.
      /budget 64 → At most 64 thinking tokens.
      /budget -1 → /budget expected a whole number or off; got -1.
      /budget → /budget expected a whole number or off; got nothing.
      /dance → There is no /dance; /help lists the commands.
      /save → /save expected a file's name.
      /exit → exit"
    `);
    await ask(session, "Hi");
    await said(session, "/think auto");
    await said(session, "/budget off");
    await ask(session, "Hi");
    const asked = source.calls.map(({ options: { signal: _, ...rest } }) => rest);
    expect(asked).toEqual([{ enableThinking: true, thinkingBudget: 64 }, {}]);
  });

  test("/save writes a new file and never over another", async () => {
    const folder = await mkdtemp(join(tmpdir(), "fulgur-chat-"));
    try {
      const file = join(folder, "talk.json");
      const { session } = make({ reasoning: ["Hm."], answer: ["Yes."] });
      await ask(session, "Is it?");
      expect(await said(session, `/save ${file}`)).toBe(`Saved to ${file}.`);
      expect(JSON.parse(await readFile(file, "utf8"))).toMatchObject({
        model: "scripted",
        system: null,
        turns: [{ question: "Is it?", reasoning: "Hm.", answer: "Yes." }],
      });
      expect(await said(session, `/save ${file}`)).toBe(`${file} exists already; choose another name.`);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
