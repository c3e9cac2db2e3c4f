/**
 * Stop strings in a stream of text.
 *
 * The text ends before the first stop string that is complete (of several complete at the same character: the
 * longest). What could still become a stop string is held back, nothing else. The result does not depend on how the
 * text is cut into pushes.
 */

/** What a push gave: text that may be shown, and the stop string when one was met. */
export interface StopMatch {
  readonly text: string;
  /** The stop string; it and what follows is not part of the text. Later pushes give no text. */
  readonly stopped?: string;
}

/** A running search for stop strings. */
export interface StopMatcher {
  /** Takes the next piece of text. */
  push(text: string): StopMatch;
  /** The stream is over: returns what was held back ("" after a stop). */
  end(): string;
}

/**
 * Starts a search.
 *
 * @param stops the stop strings; none is fine (everything passes).
 * @throws {TypeError} a stop string is empty.
 */
export function createStopMatcher(stops: readonly string[]): StopMatcher {
  if (stops.some((stop) => stop === "")) throw new TypeError("createStopMatcher: a stop string must not be empty.");
  const longest = Math.max(0, ...stops.map((stop) => stop.length));
  let held = "";
  let stopped: string | undefined;

  return {
    push(text) {
      if (stopped !== undefined) return { text: "", stopped };
      const all = held + text;
      let end = Number.POSITIVE_INFINITY;
      for (const stop of stops) {
        const at = all.indexOf(stop);
        if (at < 0) continue;
        const after = at + stop.length;
        if (after < end || (after === end && stop.length > (stopped?.length ?? 0))) {
          end = after;
          stopped = stop;
        }
      }
      if (stopped !== undefined) {
        held = "";
        return { text: all.slice(0, end - stopped.length), stopped };
      }
      let keep = Math.min(longest - 1, all.length);
      while (keep > 0 && !stops.some((stop) => stop.length > keep && stop.startsWith(all.slice(-keep)))) keep--;
      const safe = all.length - Math.max(0, keep);
      held = all.slice(safe);
      return { text: all.slice(0, safe) };
    },
    end() {
      const text = held;
      held = "";
      return text;
    },
  };
}
