/**
 * Pages of several segments in one kernel: a pair of buffers for each, chosen by the page's number.
 *
 * A device binds a limited number of buffers, so a launch takes a *run* of segments whose pages follow each other; a cache
 * with more segments than that needs several launches.
 */
import type { ParamType } from "../../device/webgpu/params.js";
import type { KvSegment } from "./kv-pages.js";

/** Parameters of a run of segments: the first page of each, and the page behind the last. */
export function segmentFields(count: number): Record<string, ParamType> {
  const begins = Array.from({ length: count }, (_, i) => [`begin${i}`, "i32"] as const);
  return Object.fromEntries([...begins, ["endPage", "i32"]]);
}

/** Values of `segmentFields`. */
export function segmentValues(run: readonly KvSegment[]): Record<string, number> {
  const last = run.at(-1);
  return {
    ...Object.fromEntries(run.map((segment, i) => [`begin${i}`, segment.firstPage])),
    endPage: last ? last.firstPage + last.pages : 0,
  };
}

/** Buffers of a run in the order of `segmentBindings`. */
export const segmentBuffers = (run: readonly KvSegment[]) => run.flatMap(({ keys, values }) => [keys, values]);

/**
 * Bindings from `first` on, `isHeld` (whether the launch has the page), `segmentOf`, and `pageIn` (its index in that segment).
 * Element types are `Kv`.
 */
export function segmentBindings(count: number, first: number, element: string): string {
  const numbers = Array.from({ length: count }, (_, i) => i);
  const later = numbers.slice(1).reverse();
  return /* wgsl */ `
${numbers
  .map(
    (
      i,
    ) => `@group(0) @binding(${first + 2 * i}) var<storage, read> keys${i}: array<${element}>;     // [pages, G, PAGE, D]
@group(0) @binding(${first + 2 * i + 1}) var<storage, read> values${i}: array<${element}>;`,
  )
  .join("\n")}
fn isHeld(page: i32) -> bool { return page >= p.begin0 && page < p.endPage; }
fn segmentOf(page: i32) -> u32 {
${later.map((i) => `  if (page >= p.begin${i}) { return ${i}u; }`).join("\n")}
  return 0u;
}
fn pageIn(page: i32) -> u32 {
${later.map((i) => `  if (page >= p.begin${i}) { return u32(page - p.begin${i}); }`).join("\n")}
  return u32(page - p.begin0);
}`;
}

/** Statements for the buffers of the segment `segment`: one choice for all loads of `body`. */
export function inSegment(count: number, body: (segment: number) => string): string {
  if (count === 1) return body(0);
  const numbers = Array.from({ length: count - 1 }, (_, i) => i + 1);
  return `switch segment {
${numbers.map((i) => `case ${i}u: {\n${body(i)}\n}`).join("\n")}
default: {
${body(0)}
}
}`;
}

/** Runs of at most `most` segments whose pages follow each other. */
export function segmentRuns(segments: readonly KvSegment[], most: number): KvSegment[][] {
  const runs: KvSegment[][] = [];
  for (const segment of segments) {
    const run = runs.at(-1);
    const last = run?.at(-1);
    if (run && last && run.length < most && last.firstPage + last.pages === segment.firstPage) run.push(segment);
    else runs.push([segment]);
  }
  return runs;
}
