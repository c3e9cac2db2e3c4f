/**
 * Chooses the tokens that a layer keeps in 16 bits because of their massive activations, and forgets them again.
 *
 *   m[t] = max over c of |hidden[t, c]|                                              (NaN counts as 0)
 *
 * A prompt's tokens are judged with the step in which they come, in the order of m, the earlier first among equals; the
 * slot's marked tokens stand before those whose m is not larger than theirs:
 *   rule "entries"  a token is marked that owns one of the `count` largest |hidden[t, c]| of the row
 *   rule "tokens"   the `count` first tokens are marked
 * and in decode steps (rule "tokens"): t is marked when m[t] > ratio · least m of the marked and m[t] > outlier · median m
 * of the last prompt step. No more tokens are marked than there are entries free. Tokens below `sinks` are in 16 bits anyway:
 * they are judged with the others, and take no entry.
 *
 * Axes     T tokens, C channels. hidden: [T, C] f32. scores: f32 [slots, marked + 1]: m of each marked token, then the median
 *          (of n values the ⌊(n − 1)/2⌋-th from below).
 * Source   entries: RotateKV's code (its 20 largest entries of a prompt). tokens: AKVQ-VL's pivots in our reading, as the
 *          paper gives no rule.
 * Departs  tokens of earlier steps are not judged again: without a window they are packed by then. Of their entries only each
 *          token's largest counts against later ones.
 */
import { type Device, f32 } from "../../device/index.js";
import { empty, record, ShapeError, type Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import {
  dropMarksKernel,
  dropMarksParams,
  markDecodeKernel,
  markParams,
  markRowsKernel,
  tokenMaximaKernel,
} from "./mark-tokens.wgsl.js";
import type { PackedPages } from "./packed-pages.js";

export type MarkRule =
  | { readonly kind: "entries"; readonly count: number }
  | { readonly kind: "tokens"; readonly count: number; readonly ratio: number; readonly outlier: number };

/** Candidates that a kernel holds at a time. */
export const MOST_CANDIDATES = 64;

interface Marks {
  readonly markedTokens: Tensor;
  readonly skips: Tensor;
  readonly scores: Tensor;
  readonly slots: number;
  readonly marked: number;
  readonly skipWords: number;
}

/**
 * Marks tokens of the step in `markedTokens`, `skips` and `scores`; before the step's `packKv`.
 * @throws {ShapeError}
 */
export function markTokens(hidden: Tensor, pages: PackedPages, scores: Tensor, rule: MarkRule, step: Step): void {
  const marks = marksOf("markTokens", pages, scores);
  const [tokens, channels] = hidden.shape;
  if (hidden.shape.length !== 2 || tokens !== step.tokenCount || channels === undefined || hidden.dtype !== "f32") {
    throw new ShapeError("markTokens", "hidden", `f32 [T=${step.tokenCount}, C]`, hidden.shape);
  }
  if (!(Number.isInteger(rule.count) && rule.count >= 1 && rule.count <= MOST_CANDIDATES)) {
    throw new ShapeError("markTokens", "rule.count", `1 … ${MOST_CANDIDATES}`, [rule.count]);
  }
  if (step.isDecode) {
    if (rule.kind === "tokens") launchDecode(hidden.device, hidden, channels, marks, rule, step);
  } else launchPrefill(hidden.device, hidden, channels, marks, pages.format.sinks, rule, step);
  record("markTokens", [hidden], [marks.markedTokens, marks.skips, scores]);
}

/** Forgets the marks of tokens at and behind `length` in a slot. @throws {ShapeError} */
export function dropMarks(pages: PackedPages, scores: Tensor, slot: number, length: number): void {
  const { markedTokens, skips, slots, marked, skipWords } = marksOf("dropMarks", pages, scores);
  if (!(Number.isInteger(slot) && slot >= 0 && slot < slots)) {
    throw new ShapeError("dropMarks", "slot", `0 … ${slots - 1}`, [slot]);
  }
  const { device } = scores;
  if (device.kind === "cpu") {
    device.run("dropPackedMarks", {
      arguments: [markedTokens, skips, scores, slot, length, marked, skipWords],
      tasks: 1,
    });
    return;
  }
  device.run(dropMarksKernel, {
    buffers: [markedTokens, skips, scores],
    params: dropMarksParams.write({ slot, length, marked, skipWords }),
    grid: [1],
  });
}

function marksOf(where: string, { markedTokens, skips, format }: PackedPages, scores: Tensor): Marks {
  const { marked } = format;
  const slots = markedTokens?.shape[0] ?? 0;
  if (!markedTokens || marked < 1 || markedTokens.shape[1] !== marked) {
    throw new ShapeError(where, "pages.markedTokens", `i32 [slots, marked=${marked}]`, markedTokens?.shape ?? []);
  }
  if (skips?.shape.length !== 2 || skips.shape[0] !== slots) {
    throw new ShapeError(where, "pages.skips", `u32 [slots=${slots}, words]`, skips?.shape ?? []);
  }
  if (scores.shape[0] !== slots || scores.shape[1] !== marked + 1 || scores.dtype !== "f32") {
    throw new ShapeError(where, "scores", `f32 [slots=${slots}, marked + 1=${marked + 1}]`, scores.shape);
  }
  return { markedTokens, skips, scores, slots, marked, skipWords: skips.shape[1] ?? 0 };
}

function launchDecode(
  device: Device,
  hidden: Tensor,
  channels: number,
  { markedTokens, skips, scores, marked, skipWords }: Marks,
  { ratio, outlier }: Extract<MarkRule, { kind: "tokens" }>,
  step: Step,
): void {
  const rows = step.rowCount;
  if (device.kind === "cpu") {
    device.run("markPackedDecode", {
      arguments: [
        ...[hidden, step.rows, markedTokens, skips, scores],
        ...[channels, marked, skipWords, f32(ratio), f32(outlier)],
      ],
      tasks: rows,
    });
    return;
  }
  device.run(markDecodeKernel, {
    buffers: [hidden, step.rows, markedTokens, skips, scores],
    params: markParams.write({ rows, channels, marked, skipWords, sinks: 0, count: 0, byEntries: 0, ratio, outlier }),
    grid: [rows],
  });
}

function launchPrefill(
  device: Device,
  hidden: Tensor,
  channels: number,
  { markedTokens, skips, scores, marked, skipWords }: Marks,
  sinks: number,
  { kind, count }: MarkRule,
  step: Step,
): void {
  const { tokenCount: tokens, rowCount: rows } = step;
  const byEntries = kind === "entries" ? 1 : 0;
  using maxima = empty(device, [tokens], "f32", "token maxima");
  if (device.kind === "cpu") {
    // Candidates of a row: token, entries before it.
    using work = empty(device, [rows, 2 * MOST_CANDIDATES], "i32", "mark candidates");
    device.run("packedTokenMaxima", { arguments: [hidden, maxima, channels], tasks: tokens, chunk: 16 });
    device.run("markPackedRows", {
      arguments: [
        ...[hidden, maxima, work, step.rows, markedTokens, skips, scores],
        ...[channels, marked, skipWords, sinks, count, byEntries],
      ],
      tasks: rows,
    });
    return;
  }
  const width = Math.min(tokens, device.limits.maxWorkgroupsPerDimension);
  const values = { rows: tokens, channels, marked, skipWords, sinks, count, byEntries, ratio: 0, outlier: 0 };
  device.run(tokenMaximaKernel, {
    buffers: [hidden, maxima],
    params: markParams.write(values),
    grid: [width, Math.ceil(tokens / width)],
  });
  device.run(markRowsKernel, {
    buffers: [hidden, maxima, step.rows, markedTokens, skips, scores],
    params: markParams.write({ ...values, rows }),
    grid: [rows],
  });
}
