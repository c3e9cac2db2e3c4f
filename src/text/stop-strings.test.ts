import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createStopMatcher } from "./stop-strings.js";

/** The rule, on the whole text: the first stop string to be complete; of several, the longest. */
function naive(text: string, stops: readonly string[]): { text: string; stopped: string | undefined } {
  const found = stops
    .map((stop) => ({ stop, at: text.indexOf(stop) }))
    .filter(({ at }) => at >= 0)
    .sort((a, b) => a.at + a.stop.length - (b.at + b.stop.length) || b.stop.length - a.stop.length);
  const first = found[0];
  return first === undefined ? { text, stopped: undefined } : { text: text.slice(0, first.at), stopped: first.stop };
}

const letters = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 30 });
const stopList = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 5 }), {
  maxLength: 3,
});

describe("createStopMatcher", () => {
  test("agrees with indexOf however the text is cut, and holds back no more than it must", () => {
    fc.assert(
      fc.property(fc.array(letters, { maxLength: 8 }), stopList, (pieces, stops) => {
        const matcher = createStopMatcher(stops);
        let out = "";
        let seen = "";
        let stopped: string | undefined;
        for (const piece of pieces) {
          const match = matcher.push(piece);
          out += match.text;
          seen += piece;
          stopped = match.stopped;
          if (stopped === undefined) {
            const held = seen.slice(out.length);
            expect(out + held).toBe(seen);
            if (held !== "") expect(stops.some((stop) => stop.startsWith(held) && stop !== held)).toBe(true);
          }
        }
        out += matcher.end();
        expect({ text: out, stopped }).toEqual(naive(pieces.join(""), stops));
      }),
      { numRuns: 2000 },
    );
  });

  test("after a stop nothing more comes", () => {
    const matcher = createStopMatcher(["\n\n", "END"]);
    expect(matcher.push("one\n")).toEqual({ text: "one" });
    expect(matcher.push("two E")).toEqual({ text: "\ntwo " });
    expect(matcher.push("ND three")).toEqual({ text: "", stopped: "END" });
    expect(matcher.push("four")).toEqual({ text: "", stopped: "END" });
    expect(matcher.end()).toBe("");
  });

  test("an empty stop string is refused", () => {
    expect(() => createStopMatcher(["a", ""])).toThrow("a stop string must not be empty");
  });
});
