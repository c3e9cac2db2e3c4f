import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { checkTokenizerFiles, checkTokenizerReference } from "./reference-check.js";
import { createTokenizer } from "./tokenizer.js";

const readJson = (path: string): unknown => JSON.parse(readFileSync(new URL(`../../${path}`, import.meta.url), "utf8"));
const has = (path: string): boolean => existsSync(new URL(`../../${path}`, import.meta.url));
const fixture = (name: string): unknown => readJson(`test/fixtures/text/${name}`);

const fulgurPath = "models/fulgur-mini/tokenizer.json";
const stories = createTokenizer(fixture("tokenizer-stories260K.json"));

describe.skipIf(!has(fulgurPath))("fulgur's tokenizer", () => {
  const tokenizer = createTokenizer(
    has(fulgurPath) ? readJson(fulgurPath) : {},
    has(fulgurPath) ? readJson("models/fulgur-mini/tokenizer_config.json") : {},
  );

  test("encodes and decodes as the Rust library", () => {
    const report = checkTokenizerReference(tokenizer, fixture("reference-fulgur.json"));
    expect(report).toEqual({ passed: 64 * 4 + 8, failed: 0 });
  });

  test("encodes rendered chats as the Rust library", () => {
    expect(checkTokenizerReference(tokenizer, fixture("chat-fulgur.json"))).toEqual({ passed: 32, failed: 0 });
  });

  test("knows its special tokens", () => {
    expect(tokenizer.vocabSize).toBe(8192);
    expect([...tokenizer.specialIds]).toEqual(Array.from({ length: 16 }, (_, id) => id));
    expect([tokenizer.idOf("<think>"), tokenizer.idOf("</think>"), tokenizer.idOf("<nothing>")]).toEqual([
      5,
      6,
      undefined,
    ]);
    expect(tokenizer.isSpecial(5)).toBe(true);
    expect(tokenizer.isSpecial(16)).toBe(false);
    expect(tokenizer.decode([5, 16, 6], { skipSpecial: true })).toBe(tokenizer.decode([16]));
  });

  test("a long text encodes as its lines do (no token crosses a line end followed by a letter)", () => {
    const lines = Array.from({ length: 1000 }, (_, i) => `Line ${i}: the quick brown fox, ${i * i} times.\n`);
    expect(tokenizer.encode(lines.join(""))).toEqual(lines.flatMap((line) => tokenizer.encode(line)));
  });
});

describe("a Llama tokenizer with byte fallback", () => {
  test("encodes and decodes as transformers", () => {
    const report = checkTokenizerReference(stories, fixture("reference-stories260K.json"));
    expect(report).toEqual({ passed: 8 * 3, failed: 0 });
  });

  test("adds <s> when asked", () => {
    expect(stories.encode("Once upon a time", { addSpecialTokens: true })).toEqual([1, 403, 407, 261, 378]);
    expect(stories.decode([1, 403, 407])).toBe("<s> Once upon");
    expect(stories.decode([1, 403, 407], { skipSpecial: true })).toBe("Once upon");
  });

  test("ids without a token decode to nothing, non-ids are refused", () => {
    expect(stories.decode([403, 100_000, 407])).toBe("Once upon");
    expect(() => stories.decode([-1])).toThrow("tokenizer: a token id expected, got -1.");
    expect(() => stories.decode([1.5])).toThrow("got 1.5");
  });
});

test("\\s of the byte-level pattern is Unicode's: U+FEFF is none, U+0085 is one", () => {
  const vocab: Record<string, number> = {};
  for (const letter of ["Ġ", "ï", "»", "¿", "Â", "ħ", "a", "Ġï", "Ġa"]) vocab[letter] = Object.keys(vocab).length;
  const tokenizer = createTokenizer({
    model: { type: "BPE", vocab, merges: ["Ġ ï", "Ġ a"] },
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
    decoder: { type: "ByteLevel" },
  });
  // A blank joins what follows when that is no white space: " \uFEFF" is one piece, so "Ġï" merges.
  expect(tokenizer.encode(" \uFEFF")[0]).toBe(vocab.Ġï);
  expect(tokenizer.encode(" \u0085a")).toEqual([vocab.Ġ, vocab.Â, vocab.ħ, vocab.a]);
});

test("checkTokenizerFiles compares counts and hashes, and reports differences", async () => {
  const reference = {
    files: {
      // SHA-256 of 93 01 00 00, 97 01 00 00 (403, 407 as little-endian uint32)
      a: { tokens: 2, idsUint32LeSha256: "06bbf2a5d213b1a1a04c848132ffb53b57dcb5eece66f58ba63e6b574b7a24f8" },
      b: { tokens: 3, idsUint32LeSha256: "" },
    },
  };
  const report = await checkTokenizerFiles(stories, reference, async (name) =>
    name === "a" ? "Once upon" : undefined,
  );
  expect(report.passed).toBe(2);
});

describe("a malformed tokenizer.json is refused with its fault", () => {
  const good = {
    model: { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"] },
    added_tokens: [{ id: 3, content: "<s>", special: true }],
    decoder: { type: "ByteLevel" },
  };
  const model = good.model;
  test("the good one works", () => {
    expect(createTokenizer(good).encode("ab<s>")).toEqual([2, 3]);
  });
  const cases: [string, unknown][] = [
    ["text", "not an object"],
    ["no model", { ...good, model: undefined }],
    ["another model", { ...good, model: { ...model, type: "WordPiece" } }],
    ["vocabulary as a list", { ...good, model: { ...model, vocab: [["a", -1]] } }],
    ["id is text", { ...good, model: { ...model, vocab: { a: "0", b: 1, ab: 2 } } }],
    ["id twice", { ...good, model: { ...model, vocab: { a: 0, b: 1, ab: 1 } } }],
    ["merge of three", { ...good, model: { ...model, merges: ["a b c"] } }],
    ["merge into nothing", { ...good, model: { ...model, merges: [["b", "a"]] } }],
    ["added token without content", { ...good, added_tokens: [{ id: 3 }] }],
    ["added token on a taken id", { ...good, added_tokens: [{ id: 2, content: "<s>" }] }],
    ["no decoder", { ...good, decoder: null }],
    ["decoder of another kind", { ...good, decoder: { type: "WordPiece" } }],
    ["unknown normaliser", { ...good, normalizer: { type: "Rot13" } }],
    ["end-of-word suffix", { ...good, model: { ...model, end_of_word_suffix: "</w>" } }],
  ];
  test.each(cases)("%s", (_, file) => {
    let message = "";
    try {
      createTokenizer(file);
    } catch (error) {
      message = String(error);
    }
    expect(message).toMatchSnapshot();
  });
});
