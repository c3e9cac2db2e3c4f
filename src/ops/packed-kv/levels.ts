/** Levels that a row divided by its root mean square is rounded to, where the format has no groups. */

/** Lloyd–Max levels of a normal distribution (Max 1960, four digits), the codes 0 … 2ᵇ − 1 in order. */
export const LEVELS: Readonly<Record<2 | 3, Float32Array>> = {
  2: Float32Array.of(-1.5104, -0.4528, 0.4528, 1.5104),
  3: Float32Array.of(-2.1519, -1.3439, -0.756, -0.2451, 0.2451, 0.756, 1.3439, 2.1519),
};

/** Midpoints of neighbouring levels. */
export const THRESHOLDS: Readonly<Record<2 | 3, Float32Array>> = {
  2: midpoints(LEVELS[2]),
  3: midpoints(LEVELS[3]),
};

function midpoints(levels: Float32Array): Float32Array {
  return Float32Array.from({ length: levels.length - 1 }, (_, i) => Math.fround(levels[i + 1]! + levels[i]!) * 0.5);
}
