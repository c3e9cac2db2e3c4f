/**
 * JSON from files, with errors that name the file, the line and the column.
 *
 * `JSON.parse` makes the values. The scanner beside it exists for two things that `JSON.parse` does not tell:
 * where the text is wrong (engines differ, and short texts get no position at all), and that a key came twice
 * (the last one wins in silence, so a header could hide a tensor behind another).
 */
import { CheckpointError, quote, reasonOf } from "./checkpoint-error.js";

export interface JsonOptions {
  /** The file, for the error. */
  readonly file: string;
  /** The part of the file, for the error; "JSON" by default. */
  readonly field?: string;
  /** "reject" makes a key that comes twice in one object an error; by default the last one counts, as in `JSON.parse`. */
  readonly duplicateKeys?: "reject" | "last";
}

// 64: no file of a checkpoint nests deeper than about 10; a text of a million brackets must not cost memory.
const maxDepth = 64;

/**
 * Parses `text`.
 *
 * @throws {CheckpointError} the text is not JSON, or (with `duplicateKeys: "reject"`) a key comes twice.
 */
export function parseJson(text: string, options: JsonOptions): unknown {
  if (options.duplicateKeys === "reject") scanJson(text, options);
  try {
    return JSON.parse(text);
  } catch (cause) {
    scanJson(text, options); // throws the same complaint with its place
    throw new CheckpointError(options.file, options.field ?? "JSON", reasonOf(cause), { cause });
  }
}

/** True for a JSON object (not an array, not null). */
export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** One open bracket: the keys seen so far for an object, none for an array. */
interface Frame {
  readonly keys: Set<string> | undefined;
  /** The key whose value is being read (only noted when duplicates are looked for). */
  key: string | undefined;
}

/** Walks over `text` without recursion and throws at the first thing that is not JSON. */
function scanJson(text: string, { file, field = "JSON", duplicateKeys = "last" }: JsonOptions): void {
  const open: Frame[] = [];
  let at = 0;

  const place = (position: number): string => {
    const before = text.slice(0, position);
    return `line ${before.split("\n").length}, column ${position - before.lastIndexOf("\n")}`;
  };
  const fail = (expected: string, position = at): never => {
    const got =
      position >= text.length ? "the end of the text" : quote(String.fromCodePoint(text.codePointAt(position) ?? 0));
    throw new CheckpointError(file, field, `expected ${expected} at ${place(position)}, got ${got}`);
  };
  const skipSpace = (): void => {
    while (isSpace(text.charCodeAt(at))) at++;
  };
  const skipDigits = (): void => {
    if (!isDigit(text.charCodeAt(at))) fail("a digit");
    while (isDigit(text.charCodeAt(at))) at++;
  };
  const skipNumber = (): void => {
    if (text[at] === "-") at++;
    if (text[at] === "0") at++;
    else skipDigits();
    if (text[at] === ".") {
      at++;
      skipDigits();
    }
    if (text[at] === "e" || text[at] === "E") {
      at++;
      if (text[at] === "+" || text[at] === "-") at++;
      skipDigits();
    }
  };
  // By hand and not by a regular expression: those run out of stack on a string of some megabytes.
  const skipString = (): void => {
    for (at++; text[at] !== '"'; at++) {
      if (at >= text.length) fail('a closing "');
      if (text.charCodeAt(at) < 0x20) fail("an escape for a control character");
      if (text[at] !== "\\") continue;
      at++;
      if (text[at] === "u") {
        for (let digit = 0; digit < 4; digit++) {
          at++;
          if (!/^[0-9a-fA-F]$/.test(text[at] ?? "")) fail("four hexadecimal digits");
        }
      } else if (!'"\\/bfnrt'.includes(text[at] ?? " ")) fail("an escape");
    }
    at++;
  };
  const skipKey = (frame: Frame, keys: Set<string>): void => {
    skipSpace();
    const begin = at;
    if (text[at] !== '"') fail('a key in "');
    skipString();
    if (duplicateKeys === "reject") {
      const key = JSON.parse(text.slice(begin, at)) as string; // a scanned string literal: "\u0061" is the key "a"
      if (keys.has(key)) {
        const parent = open.at(-2)?.key;
        const where = parent === undefined ? "" : ` in ${quote(parent)}`;
        throw new CheckpointError(file, field, `key ${quote(key)} comes twice${where}, again at ${place(begin)}`);
      }
      keys.add(key);
      frame.key = key;
    }
    skipSpace();
    if (text[at] !== ":") fail('":"');
    at++;
  };
  const skipScalar = (): void => {
    const word = ["true", "false", "null"].find((literal) => text.startsWith(literal, at));
    if (text[at] === '"') skipString();
    else if (text[at] === "-" || isDigit(text.charCodeAt(at))) skipNumber();
    else if (word !== undefined) at += word.length;
    else fail("a value");
  };

  for (;;) {
    // Here a value begins.
    skipSpace();
    const opener = text[at];
    if (opener === "{" || opener === "[") {
      if (open.length === maxDepth) fail(`at most ${maxDepth} brackets inside each other`);
      at++;
      skipSpace();
      const keys = opener === "{" ? new Set<string>() : undefined;
      const frame: Frame = { keys, key: undefined };
      open.push(frame);
      if (text[at] !== (keys ? "}" : "]")) {
        if (keys) skipKey(frame, keys);
        continue;
      }
      // An empty pair: the loop below sees the closing bracket.
    } else skipScalar();

    // Here a value has ended: close what closes, go on after a comma.
    for (;;) {
      skipSpace();
      const frame = open.at(-1);
      if (!frame) {
        if (at < text.length) fail("the end of the text");
        return;
      }
      if (text[at] === (frame.keys ? "}" : "]")) {
        at++;
        open.pop();
        continue;
      }
      if (text[at] !== ",") fail(frame.keys ? '"," or "}"' : '"," or "]"');
      at++;
      if (frame.keys) skipKey(frame, frame.keys);
      break;
    }
  }
}

const isDigit = (code: number): boolean => code >= 48 && code <= 57;
const isSpace = (code: number): boolean => code === 32 || code === 10 || code === 13 || code === 9;
