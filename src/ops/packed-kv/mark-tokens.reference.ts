/** `markTokens` and `dropMarks` in plain loops. */
import type { MarkRule } from "./mark-tokens.js";

export interface MarkState {
  /** [marked], −1: free. */
  readonly tokens: number[];
  /** [marked + 1]. */
  readonly scores: number[];
  readonly skipped: Set<number>;
}

export function markState(marked: number): MarkState {
  return { tokens: new Array(marked).fill(-1), scores: new Array(marked + 1).fill(0), skipped: new Set() };
}

function put(state: MarkState, token: number, score: number): void {
  const free = state.tokens.indexOf(-1);
  if (free < 0) return;
  state.tokens[free] = token;
  state.scores[free] = score;
  state.skipped.add(token);
}

const size = (x: number) => (Number.isNaN(x) ? 0 : Math.abs(x));

/** A prompt row's tokens `past …`, whose hidden states are `rows`. */
export function markRowReference(
  state: MarkState,
  rows: readonly ArrayLike<number>[],
  past: number,
  sinks: number,
  rule: MarkRule,
): void {
  const m = rows.map((row) => Array.from(row, size).reduce((a, b) => Math.max(a, b), 0));
  const before = state.scores.slice(0, -1).filter((_, i) => (state.tokens[i] ?? -1) >= 0);
  const order = [...m.keys()].sort((a, b) => m[b]! - m[a]! || a - b);
  const chosen = order.filter((t) => {
    const own = m[t]!;
    let ahead = before.filter((score) => score >= own).length;
    for (const [other, row] of rows.entries()) {
      if (rule.kind === "tokens") {
        if (m[other]! > own || (m[other] === own && other < t)) ahead += 1;
        continue;
      }
      for (const x of Array.from(row, size)) if (x > own || (x === own && other < t)) ahead += 1;
    }
    return ahead < rule.count;
  });
  for (const t of chosen) if (past + t >= sinks) put(state, past + t, m[t]!);
  state.scores[state.scores.length - 1] = [...m].sort((a, b) => a - b)[Math.floor((m.length - 1) / 2)]!;
}

export function markDecodeReference(
  state: MarkState,
  row: ArrayLike<number>,
  token: number,
  rule: Extract<MarkRule, { kind: "tokens" }>,
): void {
  const m = Array.from(row, size).reduce((a, b) => Math.max(a, b), 0);
  const scores = state.tokens.flatMap((marked, i) => (marked >= 0 ? [state.scores[i]!] : []));
  const median = state.scores.at(-1)!;
  if (scores.length === 0) return;
  if (m > Math.fround(rule.ratio * Math.min(...scores)) && m > Math.fround(rule.outlier * median)) put(state, token, m);
}

export function dropMarksReference(state: MarkState, length: number): void {
  state.tokens.forEach((token, i) => {
    if (token >= length) state.tokens[i] = -1;
  });
  if (length === 0) state.scores.fill(0);
  for (const token of state.skipped) if (token >= length) state.skipped.delete(token);
}
