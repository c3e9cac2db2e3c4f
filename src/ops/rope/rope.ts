/**
 * Rotary position embedding: inverse frequencies and the two-level table of cosines and sines.
 *
 *   angle(p, i) = p · inverse[i],  i = 0 … r/2 − 1;  default inverse[i] = theta^(−2i / r)
 *   p = 1024·hi + lo:  cos(a + b) = cos a · cos b − sin a · sin b,  sin(a + b) = sin a · cos b + cos a · sin b
 *
 * Axes      r rotary channels of a head (even). table: [1024 + ceil(maxPositions / 1024), r] f32; each line holds r/2
 *           cosines, then r/2 sines. Lines 0 … 1023 are for lo (times the attention factor), the rest for hi.
 * Precision float64 on the host; a combined value errs by about 1.5e-7 at any position, where a float32 product
 *           p · inverse would be off by whole radians near ten million.
 * Source    Su et al. 2021, arXiv 2104.09864; Peng et al. 2023 (YaRN), arXiv 2309.00071; scaling rules and defaults as in
 *           transformers' modeling_rope_utils.
 */
import type { Device } from "../../device/index.js";
import { type Tensor, upload } from "../../tensor/index.js";

/** Lines of the table's lower level: position = LOW_POSITIONS · hi + lo. */
export const LOW_POSITIONS = 1024;

export type RopeScaling =
  | { readonly type: "linear"; readonly factor: number }
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositions: number;
    }
  | {
      readonly type: "yarn";
      readonly factor: number;
      readonly originalMaxPositions: number;
      /** Rotations over the original context above which a channel is left alone. Default 32. */
      readonly betaFast?: number;
      /** Rotations below which a channel is fully interpolated. Default 1. */
      readonly betaSlow?: number;
      /** Multiplies cosines and sines. Default: from `mscale` and `mscaleAllDim`, or 0.1·ln(factor) + 1. */
      readonly attentionFactor?: number;
      readonly mscale?: number;
      readonly mscaleAllDim?: number;
    };

export interface RopeFrequencyOptions {
  /** r: channels of a head that are rotated. */
  readonly rotaryDim: number;
  readonly theta: number;
  readonly scaling?: RopeScaling;
}

export interface RopeTableOptions extends RopeFrequencyOptions {
  readonly maxPositions: number;
  /** Checked against `rotaryDim` where given. */
  readonly headDim?: number;
}

/** Cosines and sines on the device. Positions at or past `maxPositions` read the last line: callers must not get there. */
export interface RopeTable extends Disposable {
  readonly rotaryDim: number;
  readonly maxPositions: number;
  readonly attentionFactor: number;
  /** Lines of the upper level. */
  readonly highLines: number;
  /** f32 [LOW_POSITIONS + highLines, rotaryDim]. */
  readonly table: Tensor;
  dispose(): void;
}

/**
 * Inverse frequencies (radians per position) of the r/2 channel pairs, and the factor on cosines and sines.
 *
 * @throws {RangeError} an option is out of range.
 */
export function ropeFrequencies(o: RopeFrequencyOptions): { inverse: Float64Array; attentionFactor: number } {
  const { rotaryDim, theta, scaling } = o;
  if (!Number.isInteger(rotaryDim) || rotaryDim < 2 || rotaryDim % 2 !== 0) {
    throw new RangeError(`rope: rotaryDim expected an even number ≥ 2, got ${rotaryDim}`);
  }
  positive("theta", theta);
  const plain = Float64Array.from({ length: rotaryDim / 2 }, (_, i) => theta ** (-(2 * i) / rotaryDim));
  if (scaling === undefined) return { inverse: plain, attentionFactor: 1 };
  positive(`${scaling.type} factor`, scaling.factor);
  switch (scaling.type) {
    case "linear":
      return { inverse: plain.map((f) => f / scaling.factor), attentionFactor: 1 };
    case "llama3":
      return { inverse: llama3(plain, scaling), attentionFactor: 1 };
    case "yarn":
      return { inverse: yarn(plain, rotaryDim, theta, scaling), attentionFactor: yarnAttentionFactor(scaling) };
    default:
      scaling satisfies never;
      throw new RangeError(`rope: unknown scaling ${JSON.stringify(scaling)}`);
  }
}

type Llama3 = Extract<RopeScaling, { type: "llama3" }>;
type Yarn = Extract<RopeScaling, { type: "yarn" }>;

/** Long wavelengths are stretched by `factor`, short ones kept, those between blended linearly in context/wavelength. */
function llama3(plain: Float64Array, s: Llama3): Float64Array {
  positive("llama3 originalMaxPositions", s.originalMaxPositions);
  if (!(s.highFreqFactor > s.lowFreqFactor)) {
    throw new RangeError(
      `rope: llama3 highFreqFactor expected > lowFreqFactor (${s.lowFreqFactor}), got ${s.highFreqFactor}`,
    );
  }
  return plain.map((f) => {
    const turns = (s.originalMaxPositions * f) / (2 * Math.PI);
    if (turns < s.lowFreqFactor) return f / s.factor;
    if (turns > s.highFreqFactor) return f;
    const smooth = (turns - s.lowFreqFactor) / (s.highFreqFactor - s.lowFreqFactor);
    return ((1 - smooth) * f) / s.factor + smooth * f;
  });
}

function yarn(plain: Float64Array, rotaryDim: number, theta: number, s: Yarn): Float64Array {
  positive("yarn originalMaxPositions", s.originalMaxPositions);
  // The (fractional) channel pair that turns `turns` times over the original context.
  const pairOf = (turns: number) =>
    (rotaryDim * Math.log(s.originalMaxPositions / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const low = Math.max(Math.floor(pairOf(s.betaFast ?? 32)), 0);
  const high = Math.min(Math.ceil(pairOf(s.betaSlow ?? 1)), rotaryDim - 1);
  const width = high === low ? 0.001 : high - low; // 0.001: as in transformers, a step instead of a division by zero
  return plain.map((f, i) => {
    const interpolated = Math.min(Math.max((i - low) / width, 0), 1);
    return (f / s.factor) * interpolated + f * (1 - interpolated);
  });
}

function yarnAttentionFactor(s: Yarn): number {
  if (s.attentionFactor !== undefined) return s.attentionFactor;
  const scale = (mscale: number) => (s.factor <= 1 ? 1 : 0.1 * mscale * Math.log(s.factor) + 1);
  // Zero counts as absent: checkpoints write 0 where they mean "not used".
  if (s.mscale && s.mscaleAllDim) return scale(s.mscale) / scale(s.mscaleAllDim);
  return scale(1);
}

/**
 * The table for positions 0 … maxPositions − 1 on the device. Costs 4 · r · (1024 + maxPositions / 1024) bytes.
 *
 * @throws {RangeError} an option is out of range.
 */
export function ropeTable(device: Device, o: RopeTableOptions): RopeTable {
  const { rotaryDim, maxPositions } = o;
  if (o.headDim !== undefined && rotaryDim > o.headDim) {
    throw new RangeError(`rope: rotaryDim ${rotaryDim} expected at most the head size ${o.headDim}`);
  }
  if (!Number.isInteger(maxPositions) || maxPositions < 1) {
    throw new RangeError(`rope: maxPositions expected a whole number ≥ 1, got ${maxPositions}`);
  }
  const { inverse, attentionFactor } = ropeFrequencies(o);
  const highLines = Math.ceil(maxPositions / LOW_POSITIONS);
  const table = upload(device, ropeTableValues(inverse, attentionFactor, highLines), [
    LOW_POSITIONS + highLines,
    rotaryDim,
  ]);
  const dispose = () => table.dispose();
  return { rotaryDim, maxPositions, attentionFactor, highLines, table, dispose, [Symbol.dispose]: dispose };
}

/** The lines of the table, rounded once from float64. */
export function ropeTableValues(inverse: Float64Array, attentionFactor: number, highLines: number): Float32Array {
  const half = inverse.length;
  const values = new Float32Array((LOW_POSITIONS + highLines) * 2 * half);
  const fill = (line: number, position: number, factor: number) => {
    for (let i = 0; i < half; i += 1) {
      const angle = position * inverse[i]!;
      values[line * 2 * half + i] = factor * Math.cos(angle);
      values[line * 2 * half + half + i] = factor * Math.sin(angle);
    }
  };
  for (let lo = 0; lo < LOW_POSITIONS; lo += 1) fill(lo, lo, attentionFactor);
  for (let hi = 0; hi < highLines; hi += 1) fill(LOW_POSITIONS + hi, LOW_POSITIONS * hi, 1);
  return values;
}

function positive(name: string, value: number): void {
  if (!(value > 0) || !Number.isFinite(value))
    throw new RangeError(`rope: ${name} expected a number > 0, got ${value}`);
}
