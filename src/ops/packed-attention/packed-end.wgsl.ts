/** The rule of format.ts in WGSL. */
import { blockTokens, type PackedFormat, ringTokens } from "../packed-kv/format.js";

/** `fn packedEnd(length, floor)`, and the constants SINKS, RING and MARKED. */
export function packedEndWgsl(format: PackedFormat): string {
  return /* wgsl */ `
const SINKS = ${format.sinks};
const RECENT = ${format.recent};
const RING = ${ringTokens(format)};
const MARKED = ${format.marked};
const BLOCK = ${blockTokens(format)};
fn packedEnd(length: i32, floorEnd: i32) -> i32 {
  let start = max(SINKS, floorEnd);
  let old = length - start - RECENT;
  if (old >= BLOCK) { return start + old / BLOCK * BLOCK; }
  return max(floorEnd, min(length, SINKS));
}`;
}
