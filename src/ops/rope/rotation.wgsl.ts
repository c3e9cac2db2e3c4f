/** The table's cosine and sine in WGSL, by the angle sum of rope.ts. */
import { LOW_POSITIONS } from "./rope.js";

/** `fn rotation(position, pair, rotaryDim, highLines) -> vec2f`: cosine and sine; reads `table: array<f32>`. */
export const rotationWgsl = /* wgsl */ `
fn rotation(position: u32, pair: u32, rotaryDim: u32, highLines: u32) -> vec2f {
  let half = rotaryDim / 2u;
  let low = (position % ${LOW_POSITIONS}u) * rotaryDim + pair;
  let high = (${LOW_POSITIONS}u + min(position / ${LOW_POSITIONS}u, highLines - 1u)) * rotaryDim + pair;
  return vec2f(
    table[low] * table[high] - table[low + half] * table[high + half],
    table[low + half] * table[high] + table[low] * table[high + half],
  );
}`;
