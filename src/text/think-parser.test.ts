import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createThinkParser, mergePieces, type ThinkParserOptions, type ThinkPiece } from "./think-parser.js";

function parse(pieces: readonly string[], options: ThinkParserOptions = {}): ThinkPiece[] {
  const parser = createThinkParser(options);
  return mergePieces([...pieces.flatMap((piece) => parser.push(piece)), ...parser.end()]);
}

const reasoning = (text: string): ThinkPiece => ({ kind: "reasoning", text });
const answer = (text: string): ThinkPiece => ({ kind: "answer", text });
const trim = { trimNewlines: true };

const cases: { name: string; text: string; options?: ThinkParserOptions; pieces: ThinkPiece[] }[] = [
  { name: "nothing", text: "", pieces: [] },
  { name: "answer alone", text: "Hi <b>", pieces: [answer("Hi <b>")] },
  { name: "reasoning and answer", text: "<think>a</think>b", pieces: [reasoning("a"), answer("b")] },
  { name: "text before", text: "x<think>a</think>b", pieces: [answer("x"), reasoning("a"), answer("b")] },
  { name: "never closed", text: "<think>a</thin", pieces: [reasoning("a</thin")] },
  { name: "starts inside", text: "a</think>b", options: { startsInside: true }, pieces: [reasoning("a"), answer("b")] },
  { name: "close without open is text", text: "a</think>b", pieces: [answer("a</think>b")] },
  {
    name: "open in the reasoning is text",
    text: "<think>a<think></think>b",
    pieces: [reasoning("a<think>"), answer("b")],
  },
  {
    name: "tag in the answer is text",
    text: "<think>a</think>b<think>c",
    pieces: [reasoning("a"), answer("b<think>c")],
  },
  {
    name: "further blocks when asked",
    text: "<think>a</think>b<think>c</think>",
    options: { repeat: true },
    pieces: [reasoning("a"), answer("b"), reasoning("c")],
  },
  { name: "newlines kept", text: "<think>\na\n</think>\n\nb", pieces: [reasoning("\na\n"), answer("\n\nb")] },
  {
    name: "newlines trimmed as M1 writes them",
    text: "<think>\na\n\nb\n</think>\n\nc\n\nd\n",
    options: trim,
    pieces: [reasoning("a\n\nb"), answer("c\n\nd\n")],
  },
  { name: "empty reasoning (Qwen3)", text: "<think>\n\n</think>\n\nc", options: trim, pieces: [answer("c")] },
  { name: "cut after newlines", text: "<think>\na\n\n", options: trim, pieces: [reasoning("a\n\n")] },
  {
    name: "false starts",
    text: "<<think><//think</think>>",
    pieces: [answer("<"), reasoning("<//think"), answer(">")],
  },
  {
    name: "other markers",
    text: "[[r]]a",
    options: { open: "[[", close: "]]" },
    pieces: [reasoning("r"), answer("a")],
  },
];

describe("createThinkParser by text", () => {
  test.each(cases)("$name", ({ text, options, pieces }) => {
    expect(parse([text], options)).toEqual(pieces);
    expect(parse([...text], options)).toEqual(pieces);
  });

  test("the result does not depend on how the text is cut", () => {
    const unit = fc.constantFrom("<think>", "</think>", "<", "/", "think>", "\n", "a", "\n\n");
    fc.assert(
      fc.property(
        fc.array(unit, { maxLength: 12 }),
        fc.array(fc.nat(60), { maxLength: 8 }),
        fc.record({ trimNewlines: fc.boolean(), startsInside: fc.boolean(), repeat: fc.boolean() }),
        (units, cuts, options) => {
          const text = units.join("");
          const places = [0, ...cuts.map((cut) => Math.min(cut, text.length)), text.length].sort((a, b) => a - b);
          const pieces = places.slice(1).map((place, i) => text.slice(places[i], place));
          expect(parse(pieces, options)).toEqual(parse([text], options));
        },
      ),
      { numRuns: 2000 },
    );
  });

  test("what cannot be a marker any more is released at once", () => {
    const parser = createThinkParser();
    expect(parser.push("a <thi")).toEqual([answer("a ")]);
    expect(parser.push("s")).toEqual([answer("<this")]);
    expect(parser.push("<think>b</")).toEqual([reasoning("b")]);
    expect(parser.push("p")).toEqual([reasoning("</p")]);
    expect(parser.kind).toBe("reasoning");
  });
});

describe("createThinkParser by token", () => {
  const ids = { openId: 5, closeId: 6 };

  test("marker tokens switch, letters do not", () => {
    const parser = createThinkParser({ ...ids, ...trim });
    const tokens: [number, string][] = [
      [5, "<think>"],
      [10, "\nwrite </think> here"],
      [11, "\n"],
      [6, "</think>"],
      [12, "\n\nThe tag <thi"],
      [13, "nk> opens"],
    ];
    const pieces = tokens.flatMap(([id, text]) => parser.pushToken(id, text));
    expect(mergePieces([...pieces, ...parser.end()])).toEqual([
      reasoning("write </think> here"),
      answer("The tag <think> opens"),
    ]);
  });

  test("markers without text (special tokens skipped) and with the rest of a broken character", () => {
    const parser = createThinkParser({ ...ids, startsInside: true });
    expect(parser.pushToken(9, "a")).toEqual([reasoning("a")]);
    expect(parser.pushToken(6, "\uFFFD</think>")).toEqual([reasoning("\uFFFD")]);
    expect(parser.pushToken(6, "")).toEqual([]);
    expect(parser.pushToken(9, "b")).toEqual([answer("b")]);
    expect(parser.pushToken(5, "")).toEqual([]);
    expect(parser.pushToken(9, "c")).toEqual([reasoning("c")]);
  });

  test("without ids, tokens are read as text", () => {
    const parser = createThinkParser();
    expect([...parser.pushToken(1, "<think>a</thi"), ...parser.pushToken(2, "nk>b")]).toEqual([
      reasoning("a"),
      answer("b"),
    ]);
  });

  test("half a pair of ids, an empty marker: refused", () => {
    expect(() => createThinkParser({ openId: 5 })).toThrow("belong together");
    expect(() => createThinkParser({ open: "" })).toThrow("must not be empty");
  });
});
