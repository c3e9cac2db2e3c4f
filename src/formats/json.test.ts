import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CheckpointError } from "./checkpoint-error.js";
import { parseJson } from "./json.js";

const messageOf = (text: string, duplicateKeys: "reject" | "last" = "reject"): string => {
  try {
    parseJson(text, { file: "config.json", duplicateKeys });
    return "no error";
  } catch (error) {
    expect(error).toBeInstanceOf(CheckpointError);
    return (error as CheckpointError).message;
  }
};

test("errors say what was expected and where", () => {
  const texts = [
    "",
    "{",
    "[1,]",
    '{"a" 1}',
    '{"a":1,}',
    '{\n  "a": 1\n  "b": 2\n}',
    '{"a":01}',
    '{"a":1.}',
    '{"a":-}',
    '{"a":1e+}',
    '"open',
    '"\\x"',
    '"\\u12g4"',
    '"\t"',
    "[1] 2",
    "[1}",
    "nul",
    "'a'",
    "[".repeat(100),
  ];
  expect(texts.map((text) => messageOf(text)).join("\n")).toMatchInlineSnapshot(`
    "config.json: JSON: expected a value at line 1, column 1, got the end of the text
    config.json: JSON: expected a key in " at line 1, column 2, got the end of the text
    config.json: JSON: expected a value at line 1, column 4, got "]"
    config.json: JSON: expected ":" at line 1, column 6, got "1"
    config.json: JSON: expected a key in " at line 1, column 8, got "}"
    config.json: JSON: expected "," or "}" at line 3, column 3, got "\\""
    config.json: JSON: expected "," or "}" at line 1, column 7, got "1"
    config.json: JSON: expected a digit at line 1, column 8, got "}"
    config.json: JSON: expected a digit at line 1, column 7, got "}"
    config.json: JSON: expected a digit at line 1, column 9, got "}"
    config.json: JSON: expected a closing " at line 1, column 6, got the end of the text
    config.json: JSON: expected an escape at line 1, column 3, got "x"
    config.json: JSON: expected four hexadecimal digits at line 1, column 6, got "g"
    config.json: JSON: expected an escape for a control character at line 1, column 2, got "\\t"
    config.json: JSON: expected the end of the text at line 1, column 5, got "2"
    config.json: JSON: expected "," or "]" at line 1, column 3, got "}"
    config.json: JSON: expected a value at line 1, column 1, got "n"
    config.json: JSON: expected a value at line 1, column 1, got "'"
    config.json: JSON: expected at most 64 brackets inside each other at line 1, column 65, got "[""
  `);
});

test("a key that comes twice is an error on demand, however it is spelt", () => {
  expect(messageOf('{"a":1,"b":{"a":2},"a":3}')).toMatchInlineSnapshot(
    `"config.json: JSON: key "a" comes twice, again at line 1, column 20"`,
  );
  expect(messageOf('{"w":{"dtype":"F32",\n"\\u0064type":"F16"}}')).toMatchInlineSnapshot(
    `"config.json: JSON: key "dtype" comes twice in "w", again at line 2, column 1"`,
  );
  expect(messageOf('{"a":1,"a":3}', "last")).toBe("no error");
  expect(messageOf('[{"a":1},{"a":3}]')).toBe("no error");
});

test("a long string costs no stack", () => {
  const long = "x".repeat(3_000_000);
  expect(parseJson(JSON.stringify([long]), { file: "f", duplicateKeys: "reject" })).toEqual([long]);
});

describe("laws", () => {
  test("what JSON.stringify writes is read back, with and without the scanner", () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 5 }), fc.constantFrom(undefined, 2, "\t"), (text, indent) => {
        const value: unknown = JSON.parse(text);
        const again = parseJson(JSON.stringify(value, null, indent), { file: "f", duplicateKeys: "reject" });
        expect(again).toEqual(value);
      }),
    );
  });

  test("the scanner accepts exactly what JSON.parse accepts", () => {
    const pieces = fc.constantFrom(
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      '"a"',
      '"b"',
      "1",
      "-",
      "0",
      ".5",
      "e3",
      "true",
      "nul",
      '"',
      "\\",
      " ",
      "\n",
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 9 }), (parts) => {
        const text = parts.join("");
        let isJson = true;
        try {
          JSON.parse(text);
        } catch {
          isJson = false;
        }
        const message = messageOf(text);
        if (!message.includes("comes twice")) expect(message === "no error").toBe(isJson);
      }),
      { numRuns: 3000 },
    );
  });
});
