/** Documents of text, conversations, exercises and retrieval: their tokens, and which of them count. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { memorySink, memorySource } from "../../formats/index.js";
import { chatTemplateFromConfig, createChatTemplate, createTokenizer, type Tokenizer } from "../../text/index.js";
import { checkedFamilies, commonWords, isEvaluation, type Mode, Random, readProblem } from "../tasks/index.js";
import { byteTokenizerFiles, byteVocabulary } from "./byte-tokenizer.js";
import { conversationDocuments } from "./conversation.js";
import { documentMarks, encodeDocument } from "./encode-document.js";
import { exerciseDrawer, exerciseSource, exerciseStretches } from "./exercise-source.js";
import { factKinds } from "./fact-kinds.js";
import { tokenizerFingerprint } from "./fingerprint.js";
import type { Piece } from "./piece.js";
import { PlainDocuments } from "./plain-documents.js";
import { heldOutRetrieval, retrievalSource, retrievalTurns } from "./retrieval.js";
import { ShardReader } from "./shard-reader.js";
import { ShardWriter } from "./shard-writer.js";

const json = (path: string): unknown => JSON.parse(readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8"));

const miniConfig = json("models/fulgur-mini/tokenizer_config.json");
const mini = createTokenizer(json("models/fulgur-mini/tokenizer.json"), miniConfig);
const miniTemplate = chatTemplateFromConfig(miniConfig)!;
const files = byteTokenizerFiles();
const bytes = createTokenizer(files.tokenizer, files.config);
const bytesTemplate = chatTemplateFromConfig(files.config)!;
// Puts a blank in front of every text (SentencePiece).
const metaspace = createTokenizer(json("test/fixtures/text/tokenizer-stories260K.json"));

/** The text with what counts in square brackets. */
function shown(piece: { ids: readonly number[]; loss: ArrayLike<number | boolean> }, tokenizer: Tokenizer): string {
  let text = "";
  let start = 0;
  for (let i = 1; i <= piece.ids.length; i++) {
    if (i < piece.ids.length && Boolean(piece.loss[i]) === Boolean(piece.loss[start])) continue;
    const part = tokenizer.decode(piece.ids.slice(start, i));
    text += piece.loss[start] ? `[${part}]` : part;
    start = i;
  }
  return text;
}

describe("the byte tokenizer", () => {
  test("has an id for every byte and gives any text back", () => {
    expect(bytes.vocabSize).toBe(byteVocabulary);
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        // Lone surrogates have no bytes.
        const whole = new TextDecoder().decode(new TextEncoder().encode(text)).replaceAll("<", "");
        const ids = bytes.encode(whole);
        expect(ids).toEqual([...new TextEncoder().encode(whole)].map((byte) => byteId(byte)));
        expect(bytes.decode(ids)).toBe(whole);
      }),
    );
  });

  test("knows the marks of a chat", () => {
    const prompt = bytesTemplate.render([{ role: "user", content: "hi" }], { addGenerationPrompt: true });
    expect(bytes.encode(prompt)).toEqual([0, 2, byteId(104), byteId(105), 4, 3]);
    expect(documentMarks(bytes)).toEqual({ start: 0, end: 0 });
  });
});

const byteId = (byte: number): number => {
  // Ids go by the order of the letters, which is that of the bytes.
  return 8 + byte;
};

describe("conversations", () => {
  const messages = [
    { role: "system", content: "Be kind." },
    { role: "user", content: "Hi" },
    { role: "assistant", content: "Hello" },
    { role: "user", content: "Bye" },
    { role: "assistant", content: "<think>Polite.</think>See you" },
    { role: "user", content: "unanswered" },
  ];
  const documents = (template: typeof miniTemplate, tokenizer: Tokenizer, options = {}) =>
    conversationDocuments(messages, template, options).map((stretches) =>
      shown(encodeDocument(stretches, tokenizer), tokenizer),
    );

  test("the loss is on the answers, with their end", () => {
    expect(documents(miniTemplate, mini)).toMatchInlineSnapshot(`
      [
        "<|endoftext|><|system|>Be kind.<|end|><|user|>Hi<|end|><|assistant|>[<think></think>Hello<|end|>]<|user|>Bye<|end|><|assistant|>[<think>Polite.</think>See you<|end|>]",
      ]
    `);
    expect(documents(miniTemplate, mini, { lossOnAll: true })[0]).toMatch(/^\[.*\]$/);
  });

  test("a line break after the end token does not count", () => {
    const template = createChatTemplate({
      template:
        "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    });
    expect(documents(template, mini)).toMatchInlineSnapshot(`
      [
        "<|system|>Be kind.<|end|>
      <|user|>Hi<|end|>
      <|assistant|>[Hello<|end|>]
      <|user|>Bye<|end|>
      <|assistant|>[<think>Polite.</think>See you<|end|>]",
      ]
    `);
  });

  test("a template that drops earlier thoughts gives a document for each answer", () => {
    const template = createChatTemplate({
      template:
        "{% for m in messages %}{{ '<|' + m.role + '|>' }}{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    });
    expect(documents(template, mini)).toMatchInlineSnapshot(`
      [
        "<|system|>Be kind.<|end|><|user|>Hi<|end|><|assistant|>[Hello<|end|>]",
        "<|system|>Be kind.<|end|><|user|>Hi<|end|><|assistant|>Hello<|end|><|user|>Bye<|end|><|assistant|>[<think>Polite.</think>See you<|end|>]",
      ]
    `);
  });

  test("what cannot be trained on is said", () => {
    expect(() => conversationDocuments(messages.slice(0, 2), miniTemplate)).toThrowErrorMatchingInlineSnapshot(
      `[ChatTemplateError: chat: messages expected an answer (role "assistant") to train on, got none.]`,
    );
    const other = createChatTemplate({
      template:
        "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    });
    expect(() => conversationDocuments(messages, other)).toThrowErrorMatchingInlineSnapshot(
      `[ChatTemplateError: chat template: shows messages[2] in a way that does not begin with its own prompt, so the answer's place is not known.]`,
    );
  });
});

describe("plain texts", () => {
  async function tokenise(parts: readonly string[], tokenizer: Tokenizer, separator = "\0", pieceCharacters = 300) {
    const sink = memorySink();
    const header = { idBytes: 2, vocabSize: tokenizer.vocabSize, fingerprint: "0".repeat(32) } as const;
    const writer = new ShardWriter(sink, header);
    const plain = new PlainDocuments(writer, {
      tokenizer,
      marks: documentMarks(tokenizer),
      separator,
      pieceCharacters,
    });
    for (const part of parts) await plain.push(part);
    await plain.end();
    await writer.finish();
    const shard = await ShardReader.open(memorySource("test.shard", sink.bytes()));
    const entries = await shard.entries(0, shard.documents);
    return Promise.all(entries.map(async (entry) => (await shard.stretch(entry, 0, entry.ids)).ids));
  }

  const prose = Array.from(
    { length: 60 },
    (_, i) =>
      `It was the ${i}th day, "and" they'd seen   nothing;\n${i % 7 === 0 ? "\n" : ""}the naïve captain — 东京 🙂 — said`,
  ).join(" ");

  test.each([
    ["fulgur-mini", mini],
    ["bytes", bytes],
    ["metaspace", metaspace],
  ] as const)("%s: pieces of a long document have the tokens of the whole", async (_, tokenizer) => {
    const { start, end } = documentMarks(tokenizer);
    const whole = tokenizer.encode(prose.trim());
    const expected = [...(start === undefined ? [] : [start]), ...whole, ...(end === undefined ? [] : [end])];
    expect(await tokenise([prose], tokenizer)).toEqual([expected]);
    const pieces = prose.match(/.{1,50}/gsu)!;
    expect(await tokenise(pieces, tokenizer)).toEqual([expected]);
  });

  test("documents are parted at the separator, wherever the reading stops; blanks around them and empty ones go", async () => {
    const text = "\n one \n\0\ntwo\0\0 \n\0three";
    const expected = ["one", "two", "three"].map((word) => [0, ...mini.encode(word), 0]);
    expect(await tokenise([text], mini)).toEqual(expected);
    expect(await tokenise([...text], mini)).toEqual(expected);
    expect(await tokenise([..."a--b-c---d"], mini, "--")).toEqual(
      ["a", "b-c", "-d"].map((word) => [0, ...mini.encode(word), 0]),
    );
    expect(await tokenise(["a\0b"], mini, "")).toEqual([[0, ...mini.encode("a\0b"), 0]]);
  });
});

describe("exercises", () => {
  const source = (options: object = {}) =>
    exerciseSource({
      name: "exercises",
      tokenizer: mini,
      template: miniTemplate,
      sequence: 400,
      seed: "a",
      ...options,
    });

  test("look like the evaluation's prompts; the loss is on the reply", async () => {
    const piece = (mode: Mode, family: string) => source({ mode, families: [family], levels: [1, 0, 0] }).piece(0);
    expect(shown(await piece("think", "add"), mini)).toMatchInlineSnapshot(`
      "<|endoftext|><|user|>6+28<|end|><|assistant|>[<think>From the right: 6 0 and 8 2.
      6+8=14, write 4, carry 1.
      0+2+1=3, write 3.
      Digits from the right: 4 3. So 34.</think>6 + 28 = 34<|end|>]"
    `);
    expect(shown(await piece("direct", "compare"), mini)).toMatchInlineSnapshot(
      `"<|endoftext|><|user|>Which is larger, 560 or 4? /no_think<|end|><|assistant|>[<think></think>560<|end|>]"`,
    );
    const everything = await source({ loss: "all" }).piece(0);
    expect(Array.from(everything.loss).every(Boolean)).toBe(true);
  });

  test("answers of rare words are spelt in single letters", async () => {
    const { ids, loss } = await source({ families: ["revword"], mode: "direct" }).piece(1);
    const reply = ids.filter((_, i) => loss[i]).map((id) => mini.decode([id]));
    expect(reply.slice(0, 2)).toEqual(["<think>", "</think>"]);
    expect(reply.at(-1)).toBe("<|end|>");
    expect(reply.slice(2, -1).every((token) => token.length === 1)).toBe(true);
  });

  test("the n-th is always the same, and seeds differ", async () => {
    const take = async (seed: string) => Promise.all([0, 1, 2, 3].map((n) => source({ seed }).piece(n)));
    const [a, b] = [await take("a"), await take("b")];
    expect(await source().piece(3)).toEqual(a[3]);
    expect(a).not.toEqual(b);
  });

  test("never a problem of the evaluation, in 20,000 draws", () => {
    const draw = exerciseDrawer({});
    const random = new Random("split");
    const families = new Set<string>();
    for (let i = 0; i < 20_000; i++) {
      const { problem } = draw(random);
      families.add(problem.family);
      if (isEvaluation(problem.family, problem.key)) expect.unreachable(`${problem.family}: ${problem.key}`);
      // The key that the question itself has, as a file of problems gives it.
      if (i % 10 === 0) {
        const keys = readProblem(problem.family, problem.user).map(({ key }) => key);
        expect(keys).toContain(problem.key);
      }
    }
    expect(families.size).toBe(checkedFamilies.length);
  });

  test("families, levels and modes follow their weights", () => {
    const draw = exerciseDrawer({ families: { add: 3, copy: 1 }, levels: [0, 1, 1], mode: "mixed", direct: 0.5 });
    const random = new Random("weights");
    const drawn = Array.from({ length: 2000 }, () => draw(random));
    const share = (is: (one: (typeof drawn)[number]) => boolean) => drawn.filter(is).length / drawn.length;
    // Three standard errors of a share of 2,000 are at most 0.034.
    expect(Math.abs(share(({ problem }) => problem.family === "add") - 0.75)).toBeLessThan(0.034);
    expect(share(({ problem }) => problem.level === 0)).toBe(0);
    // `add` of level 2 is never asked for without thought.
    const hard = drawn.filter(({ problem }) => problem.family === "add" && problem.level === 2);
    expect(hard.every(({ mode }) => mode === "think")).toBe(true);
    expect(drawn.some(({ mode }) => mode === "direct")).toBe(true);
  });

  test("what cannot be drawn is said", async () => {
    expect(() => source({ families: ["addition"] })).toThrow('there is no family "addition"');
    expect(() => source({ families: { add: 0 } })).toThrow(
      "exercises: families expected weights, at least one above 0 and none below, got [0].",
    );
    await expect(source({ sequence: 5 }).piece(7)).rejects.toThrow(
      'exercises, exercise 7: expected at most 5 tokens ("sequence"), got',
    );
  });

  test("conversations of several, with a system's text", async () => {
    const options = {
      mode: "direct",
      families: ["case"],
      levels: [1, 0, 0],
      turns: [0, 1],
      systems: ["Be brief."],
      system: 1,
    };
    const piece = await source(options).piece(0);
    expect(shown(piece, mini)).toMatchInlineSnapshot(
      `"<|endoftext|><|system|>Be brief.<|end|><|user|>Write in capital letters: object plainly /no_think<|end|><|assistant|>[<think></think>OBJECT PLAINLY<|end|>]<|user|>Put this in upper case: sheet stupid /no_think<|end|><|assistant|>[<think></think>SHEET STUPID<|end|>]"`,
    );
    // Each answer is spelt, a letter a token.
    const reply = piece.ids.filter((_, i) => piece.loss[i]).map((id) => mini.decode([id]));
    expect(reply.filter((token) => /^ ?[A-Z]$/.test(token)).length).toBeGreaterThan(8);
    expect(reply.filter((token) => token === "<|end|>")).toHaveLength(2);
  });

  test("a template that rewrites earlier turns keeps the last answer alone", () => {
    const template = createChatTemplate({
      template:
        "{% for m in messages %}{{ '<|' + m.role + '|>' }}{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    });
    const two = ["add", "case"].map((family) => ({ problem: problemOf(family), mode: "think" as const }));
    const stretches = exerciseStretches(two, template);
    expect(
      stretches
        .filter(({ loss }) => loss)
        .map(({ text }) => text)
        .join(""),
    ).toMatch(/<\|end\|>$/);
    expect(stretches.filter(({ spelt }) => spelt)).toEqual([{ text: two[1]!.problem.answer, loss: true, spelt: true }]);
    expect(stretches[0]).toMatchObject({ loss: false });
  });

  test("with bytes and its template", async () => {
    const piece = await exerciseSource({
      name: "e",
      tokenizer: bytes,
      template: bytesTemplate,
      sequence: 400,
      seed: "1",
      families: ["parity"],
      levels: [1, 0, 0],
    }).piece(0);
    expect(shown(piece, bytes)).toMatchInlineSnapshot(
      `"<|endoftext|><|user|>Is 0 even or odd? /no_think<|end|><|assistant|>[<think></think>even<|end|>]"`,
    );
    expect(
      exerciseStretches([{ problem: { ...problemOf("compare"), spelt: true }, mode: "direct" }], bytesTemplate),
    ).toHaveLength(4);
  });
});

function problemOf(family: string) {
  return exerciseDrawer({ families: [family] })(new Random("one")).problem;
}

describe("retrieval documents", () => {
  const prose = "The old man walked slowly along the shore and looked at the sea for a long time. ".repeat(300);
  const material = { words: commonWords };
  const source = (options: object = {}) =>
    retrievalSource({
      name: "retrieval",
      tokenizer: mini,
      template: miniTemplate,
      sequence: 1024,
      seed: "a",
      prose,
      material,
      ...options,
    });

  test("fit into the row, and use it", async () => {
    const lengths: number[] = [];
    for (let n = 0; n < 60; n++) {
      const { ids, loss, isWhole } = await source({ tokens: [200, 1000] }).piece(n);
      expect(isWhole).toBe(true);
      expect(Array.from(loss).some(Boolean)).toBe(true);
      lengths.push(ids.length - 1);
    }
    expect(Math.max(...lengths)).toBeLessThanOrEqual(1000);
    expect(Math.max(...lengths)).toBeGreaterThan(700);
  });

  test("every answer stands in the text, unless it says that it does not", () => {
    for (let n = 0; n < 400; n++) {
      const random = new Random(`answers ${n}`);
      const turns = retrievalTurns(random, { facts: 6, questions: 4, spacing: n % 2 ? 80 : 0, prose, material });
      const text = turns[0]?.user.slice(0, turns[0].user.lastIndexOf("\n")) ?? "";
      for (const { answer, think } of turns) {
        if (answer === "I do not know.") expect(think).toContain("it is not in the text");
        else expect(text).toContain(answer);
        if (answer !== "I do not know.") expect(text).toContain(think.slice(think.indexOf(": ") + 2));
      }
    }
  });

  test("never a recall problem of the evaluation, never a held-out wording", async () => {
    const heldOut = factKinds.flatMap((kind) => [...kind.heldOut, ...(kind.backward?.heldOut ?? [])]);
    const trained = factKinds.flatMap((kind) => [...kind.questions, ...(kind.backward?.questions ?? [])]);
    expect(heldOut.filter((wording) => trained.includes(wording))).toEqual([]);
    const patterns = heldOut.map((wording) => new RegExp(`^${escaped(wording)}$`, "i"));
    for (let n = 0; n < 3000; n++) {
      const turns = retrievalTurns(new Random(`split ${n}`), { facts: 4, questions: 4, spacing: 0, prose, material });
      const first = turns[0]?.user ?? "";
      const body = first.slice(first.startsWith("Remember: ") ? 10 : 0, first.lastIndexOf("\n"));
      for (const { user } of turns) {
        const question = user.slice(user.lastIndexOf("\n") + 1);
        expect(isEvaluation("recall", body + question) && first.startsWith("Remember: ")).toBe(false);
        expect(patterns.some((pattern) => pattern.test(question))).toBe(false);
      }
    }
  });

  test("held-out questions for measuring come from the other list", () => {
    const options = { facts: 5, spacing: 0, prose, material };
    const heldOut = factKinds.flatMap((kind) => [...kind.heldOut, ...(kind.backward?.heldOut ?? [])]);
    const patterns = heldOut.map((wording) => new RegExp(`^${escaped(wording)}$`, "i"));
    for (let n = 0; n < 50; n++) {
      const { user, answer } = heldOutRetrieval("measure", n, options);
      expect(user).toContain(answer);
      const question = user.slice(user.lastIndexOf("\n") + 1);
      expect(patterns.some((pattern) => pattern.test(question))).toBe(true);
    }
    expect(heldOutRetrieval("measure", 1, options)).toEqual(heldOutRetrieval("measure", 1, options));
  });

  test("what cannot be drawn is said", () => {
    expect(() => source({ tokens: [10, 5] })).toThrow("tokens expected whole numbers from <= to of 1 to 1024");
    expect(() => source({ prose: "short" })).toThrow("prose expected at least 10,000 characters, got 5");
  });

  test("two of them", async () => {
    const dense: Piece = await source({ dense: 1, facts: [3, 4] }).piece(2);
    expect(shown(dense, mini)).toMatchSnapshot();
  });
});

const escaped = (wording: string): string =>
  wording.replace(/[\\^$.*+?()[\]|/]/g, "\\$&").replaceAll(/\{[kv]\}/g, ".+");

test("a tokenizer's fingerprint tells tokenizers and templates apart", async () => {
  const marks = await Promise.all([
    tokenizerFingerprint(mini, miniTemplate),
    tokenizerFingerprint(mini),
    tokenizerFingerprint(bytes, bytesTemplate),
    tokenizerFingerprint(metaspace),
  ]);
  expect(new Set(marks).size).toBe(4);
  expect(marks[0]).toMatch(/^[0-9a-f]{64}$/);
  expect(await tokenizerFingerprint(mini, miniTemplate)).toBe(marks[0]);
});
