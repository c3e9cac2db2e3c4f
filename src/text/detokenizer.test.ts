import { existsSync, readFileSync } from "node:fs";
import { Tokenizer as Library } from "@huggingface/tokenizers";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createDetokenizer } from "./detokenizer.js";
import { createTokenizer } from "./tokenizer.js";

const url = (path: string): URL => new URL(`../../${path}`, import.meta.url);
const readJson = (path: string): object => JSON.parse(readFileSync(url(path), "utf8"));

// Lone surrogates do not survive UTF-8.
const isWellFormed = (text: string): boolean => !/\p{Surrogate}/u.test(text);

const files = ["test/fixtures/text/tokenizer-stories260K.json", "models/fulgur-mini/tokenizer.json"].filter((path) =>
  existsSync(url(path)),
);

describe.each(files)("%s", (path) => {
  const tokenizer = createTokenizer(readJson(path));
  const library = new Library(readJson(path), { clean_up_tokenization_spaces: false });
  // Single bytes are what breaks characters: half of the ids are drawn from the tokens of one byte.
  const singles = Array.from({ length: tokenizer.vocabSize }, (_, id) => id).filter(
    (id) => tokenizer.tokenBytes(id).length === 1,
  );
  const id = fc.oneof(fc.nat(tokenizer.vocabSize - 1), fc.constantFrom(...singles));
  const ids = fc.array(id, { maxLength: 40 });

  test("joined pieces equal the whole decode, and the library's", () => {
    fc.assert(
      fc.property(ids, fc.boolean(), (tokens, skipSpecial) => {
        const detokenizer = createDetokenizer(tokenizer, { skipSpecial });
        for (let round = 0; round < 2; round++) {
          const joined = tokens.map((each) => detokenizer.push(each)).join("") + detokenizer.end();
          expect(joined).toBe(tokenizer.decode(tokens, { skipSpecial }));
          // The library drops U+FEFF at the start of a run of byte tokens; we keep it.
          if (tokens.length > 0 && !joined.includes("\uFEFF")) {
            expect(joined).toBe(library.decode(tokens, { skip_special_tokens: skipSpecial }));
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  test("valid text comes in whole characters, without U+FFFD", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 20 }), (text) => {
        fc.pre(!text.includes("\uFFFD") && isWellFormed(text));
        const detokenizer = createDetokenizer(tokenizer);
        const pieces = [...tokenizer.encode(text).map((each) => detokenizer.push(each)), detokenizer.end()];
        for (const piece of pieces) expect(isWellFormed(piece) && !piece.includes("\uFFFD")).toBe(true);
        expect(pieces.join("")).toBe(tokenizer.decode(tokenizer.encode(text)));
      }),
      { numRuns: 100 },
    );
  });
});

test("a broken character is given as soon as it is known to be broken", () => {
  const tokenizer = createTokenizer(readJson("test/fixtures/text/tokenizer-stories260K.json"));
  const byte = (value: number): number => value + 3;
  const detokenizer = createDetokenizer(tokenizer);
  const a = tokenizer.idOf("a") ?? -1;
  expect(detokenizer.push(byte(0xf0))).toBe("");
  expect(detokenizer.push(byte(0x9f))).toBe("");
  expect(detokenizer.push(a)).toBe("\uFFFDa");
  expect(detokenizer.push(byte(0xc3))).toBe("");
  expect(detokenizer.end()).toBe("\uFFFD");
});
