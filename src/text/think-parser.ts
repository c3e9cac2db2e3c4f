/**
 * Splits a model's output into its reasoning (`<think>…</think>`) and its answer, while it streams.
 *
 * Two ways to find the markers. By text (`push`): the markers may be cut anywhere, and text is held back only while
 * it could still be the start of a marker. By token (`pushToken`, with `openId` and `closeId`): for models whose
 * markers are tokens of their own; then a "<think>" that is written out in letters is just text.
 *
 * Our choice  by text, a stream has one block of reasoning: after its end, "<think>" is text of the answer (an answer
 *             may well talk about the tag) unless `repeat` is set. Marker tokens are always markers.
 *             A marker that changes nothing (close in the answer, open in the reasoning) is text when found by text,
 *             and is dropped when it is a token.
 */

/** A piece of output. Pieces of one kind that follow each other are one text. */
export interface ThinkPiece {
  readonly kind: "reasoning" | "answer";
  readonly text: string;
}

/** Options of {@link createThinkParser}. */
export interface ThinkParserOptions {
  /** The marker that opens the reasoning. Default `<think>`. */
  readonly open?: string;
  /** The marker that closes it. Default `</think>`. */
  readonly close?: string;
  /** The prompt already ends with the opening marker. Default false. */
  readonly startsInside?: boolean;
  /** Drop newlines after the opening marker and on both sides of the closing one. Default false. */
  readonly trimNewlines?: boolean;
  /** By text: look for further blocks after the first. Default false. */
  readonly repeat?: boolean;
  /** The opening marker's token id, for `pushToken`. */
  readonly openId?: number;
  /** The closing marker's token id, for `pushToken`. */
  readonly closeId?: number;
}

/** A running split of one output. */
export interface ThinkParser {
  /** What the next text belongs to. */
  readonly kind: "reasoning" | "answer";
  /** Takes the next piece of text and looks for markers in it. */
  push(text: string): ThinkPiece[];
  /**
   * Takes the next token with the text that the detokeniser gave for it. Markers are known by id alone; without
   * `openId` and `closeId` this is `push(text)`.
   */
  pushToken(id: number, text: string): ThinkPiece[];
  /** The output is over: returns what was held back. */
  end(): ThinkPiece[];
}

/** Starts a split. */
export function createThinkParser(options: ThinkParserOptions = {}): ThinkParser {
  const { open = "<think>", close = "</think>", startsInside = false, trimNewlines = false, repeat = false } = options;
  const { openId, closeId } = options;
  if (open === "" || close === "") throw new TypeError("createThinkParser: a marker must not be empty.");
  if ((openId === undefined) !== (closeId === undefined)) {
    throw new TypeError("createThinkParser: openId and closeId belong together; only one was given.");
  }

  let kind: ThinkPiece["kind"] = startsInside ? "reasoning" : "answer";
  let held = ""; // the start of a marker, perhaps with the newlines before it
  let skipping = trimNewlines && startsInside; // drop newlines until something else comes
  let hadBlock = false;
  let pieces: ThinkPiece[] = [];

  const emit = (text: string): void => {
    let start = 0;
    if (skipping) while (text[start] === "\n") start++;
    if (start === text.length) return;
    skipping = false;
    pieces.push({ kind, text: text.slice(start) });
  };

  const enter = (next: ThinkPiece["kind"]): void => {
    if (next === "answer") hadBlock = true;
    kind = next;
    skipping = trimNewlines;
  };

  // How much of the end of `text` must wait: newlines that the closing marker would swallow.
  const newlinesAt = (text: string, end: number): number => {
    let start = end;
    if (trimNewlines && kind === "reasoning") while (start > 0 && text[start - 1] === "\n") start--;
    return start;
  };

  const take = (text: string, lookForMarkers: boolean): void => {
    let rest = held + text;
    held = "";
    for (;;) {
      const marker = !lookForMarkers
        ? undefined
        : kind === "reasoning"
          ? close
          : hadBlock && !repeat
            ? undefined
            : open;
      const at = marker === undefined ? -1 : rest.indexOf(marker);
      if (marker !== undefined && at >= 0) {
        emit(rest.slice(0, newlinesAt(rest, at)));
        rest = rest.slice(at + marker.length);
        enter(kind === "reasoning" ? "answer" : "reasoning");
        continue;
      }
      const waiting = marker === undefined ? 0 : startOfMarker(rest, marker);
      const safe = newlinesAt(rest, rest.length - waiting);
      emit(rest.slice(0, safe));
      held = rest.slice(safe);
      return;
    }
  };

  const collect = (): ThinkPiece[] => {
    const out = pieces;
    pieces = [];
    return out;
  };

  return {
    get kind() {
      return kind;
    },
    push(text) {
      take(text, true);
      return mergePieces(collect());
    },
    pushToken(id, text) {
      const byId = openId !== undefined;
      const marker = !byId ? undefined : id === openId ? open : id === closeId ? close : undefined;
      if (marker === undefined) {
        take(text, !byId);
        return mergePieces(collect());
      }
      // A detokeniser may give the remains of a broken character together with the marker's own text.
      take(text.endsWith(marker) ? text.slice(0, -marker.length) : "", false);
      const next = marker === open ? "reasoning" : "answer";
      if (next !== kind) {
        emit(held.slice(0, newlinesAt(held, held.length)));
        held = "";
        enter(next);
      }
      return mergePieces(collect());
    },
    end() {
      emit(held);
      held = "";
      return collect();
    },
  };
}

/** Length of the longest end of `text` that is a start of `marker`, but not all of it. */
function startOfMarker(text: string, marker: string): number {
  for (let length = Math.min(marker.length - 1, text.length); length > 0; length--) {
    if (marker.startsWith(text.slice(-length))) return length;
  }
  return 0;
}

/** Joins neighbours of one kind. */
export function mergePieces(pieces: readonly ThinkPiece[]): ThinkPiece[] {
  const merged: ThinkPiece[] = [];
  for (const piece of pieces) {
    const last = merged.at(-1);
    if (last?.kind === piece.kind) merged[merged.length - 1] = { kind: piece.kind, text: last.text + piece.text };
    else merged.push(piece);
  }
  return merged;
}
