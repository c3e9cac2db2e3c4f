import { expect, test } from "vitest";
import { pythonJson } from "./python-json.js";
import { formatToolCalls, parseToolCalls } from "./tool-calls.js";

const rome = { name: "get_weather", arguments: { city: "Rome" } };
const now = { name: "now", arguments: {} };

test("reads a block of calls and the text around it", () => {
  const text = `I look.\n<tool_calls>\n${JSON.stringify(rome)}\n${JSON.stringify(now)}\n</tool_calls>\n`;
  expect(parseToolCalls(text)).toEqual({ content: "I look.", calls: [rome, now], skipped: [] });
});

test("skips lines that are no call, and says which", () => {
  const lines = [
    "{broken",
    "[1]",
    '{"name": "x"}',
    '{"name": 3, "arguments": {}}',
    '{"name": "x", "arguments": "y"}',
    "null",
  ];
  const text = `<tool_calls>\n${[...lines, JSON.stringify(now)].join("\n")}\n\n</tool_calls>`;
  expect(parseToolCalls(text)).toEqual({ content: "", calls: [now], skipped: lines });
});

test("two blocks, the second cut off", () => {
  const text = `<tool_calls>${JSON.stringify(rome)}</tool_calls> then <tool_calls>\n${JSON.stringify(now)}\n{"na`;
  expect(parseToolCalls(text)).toEqual({ content: "then", calls: [rome, now], skipped: ['{"na'] });
});

test("text without calls stays as it is", () => {
  expect(parseToolCalls(" plain\n")).toEqual({ content: " plain\n", calls: [], skipped: [] });
});

test("what is written is read back", () => {
  expect(formatToolCalls([rome])).toBe(
    '<tool_calls>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_calls>',
  );
  expect(parseToolCalls(formatToolCalls([rome, now])).calls).toEqual([rome, now]);
});

test("JSON as Python writes it", () => {
  expect(pythonJson({ a: [1, 2.5, null, true], ü: "时\n", b: {}, c: undefined })).toBe(
    '{"a": [1, 2.5, null, true], "ü": "时\\n", "b": {}}',
  );
  expect(() => pythonJson(undefined)).toThrow("pythonJson: a value with a JSON form expected, got undefined.");
});
