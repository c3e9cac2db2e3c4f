/**
 * Mean split: the calibrated mean key (before rotary) is taken off every key and put back exactly in the scores; what is left
 * is rotated and coded in even steps around zero, one scale a group of a head and token. So are values less their mean, which comes back on the
 * result, because probabilities sum to one.
 *
 *   q · R_p k = q · R_p (k − μ) + Σ_pairs A cos(p θ_i) + B sin(p θ_i)          Σ_j p_j v_j = Σ_j p_j (v_j − v̄) + v̄
 *
 * Keys have large constant offsets in few slow pairs of channels: only these pairs (`meanPairs` a head) are taken off.
 *
 * Scales are unbiased (`unbiased`): a group's scale is Σ x² / Σ x·L instead of the least-squares Σ x·L / Σ L². A code of 2 bits
 * with the latter is 12 % too short along the group itself, in every token alike, which no averaging by attention takes away;
 * scores and results shrink by as much. The former leaves errors of either sign only.
 *
 * Source   levels: after TurboQuant (Zandieh et al. 2025, arXiv 2504.19874), which takes Lloyd–Max levels for a normal
 *          distribution (`even=false`). Even steps lose 1 % more of a row's energy, and kernels can multiply them as integers. The
 *          split and the unbiased scales are our own. Without a calibration file there is no mean to take off, and only the levels remain.
 * Our choice  more than 3 bits are uniform steps over the row's range. 4 first and 96 newest tokens stay exact.
 */
import type { SideFormat } from "../../ops/index.js";
import { groupWithin, ofLayer, type PackedOptions, powerOfTwoIn } from "../packed-options.js";
import type { PackedKind } from "../recipe.js";
import { gaussianClip } from "./normsplit.js";

function side(bits: 2 | 3 | 4 | 8, headDim: number, wanted: number | undefined, o: PackedOptions): SideFormat {
  if (bits === 2 || bits === 3) {
    const isEven = o.even ?? true;
    const group = isEven ? groupWithin(headDim, wanted ?? headDim) : headDim;
    const quantiser = isEven ? "even" : "levels";
    return { bits, layout: "token", group, quantiser, clip: 1, norm: false, unbiased: o.unbiased ?? true };
  }
  const group = groupWithin(headDim, 128);
  return { bits, layout: "token", group, quantiser: "min", clip: gaussianClip(bits, group), norm: false };
}

/** Of each head, the pairs (i, i + r/2) with the largest mean: their indices ascending, and the mean with the others zero. */
export function largestPairs(
  mean: Float32Array,
  { kvHeads, headDim, rotaryDim, count }: { kvHeads: number; headDim: number; rotaryDim: number; count: number },
): { values: Float32Array; pairs: Int32Array } {
  const half = rotaryDim / 2;
  const values = new Float32Array(kvHeads * headDim);
  const pairs = new Int32Array(kvHeads * count);
  for (let g = 0; g < kvHeads; g++) {
    const at = (channel: number) => mean[g * headDim + channel] ?? 0;
    const energy = (i: number) => at(i) ** 2 + at(i + half) ** 2;
    const order = Array.from({ length: half }, (_, i) => i).sort((a, b) => energy(b) - energy(a) || a - b);
    const kept = order.slice(0, count).sort((a, b) => a - b);
    pairs.set(kept, g * count);
    for (const i of kept) {
      values[g * headDim + i] = at(i);
      values[g * headDim + i + half] = at(i + half);
    }
  }
  return { values, pairs };
}

/** Of a head: half of all pairs of 64 channels, a quarter of those of 128. */
const MEAN_PAIRS = 16;

export const meansplit = (bits: 2 | 3): PackedKind => ({
  calibrated: true,
  about: "keys and values less their calibrated means, one unbiased scale a head and token",
  options: [
    "keyBits",
    "valueBits",
    "group",
    "valueGroup",
    "even",
    "sinks",
    "recent",
    "meanPairs",
    "valueMean",
    "unbiased",
    "strictPrefill",
  ],
  recipe({ kvHeads, headDim, rotaryDim, layer, calibration, options: o }) {
    const mean = calibration?.layers[layer]?.meanKeys;
    const meanPairs = mean ? Math.min(rotaryDim / 2, o.meanPairs ?? MEAN_PAIRS) : 0;
    const valueMean = (o.valueMean ?? true) ? calibration?.layers[layer]?.meanValues : undefined;
    const rotation = powerOfTwoIn(headDim);
    return {
      format: {
        kvHeads,
        headDim,
        keys: side(ofLayer(o.keyBits, layer, bits), headDim, o.group, o),
        values: side(ofLayer(o.valueBits, layer, 2), headDim, o.valueGroup, o),
        ropeAtRead: false,
        keyRotation: rotation,
        valueRotation: rotation,
        ordered: false,
        meanPairs,
        valueMean: valueMean !== undefined,
        sinks: o.sinks ?? 4,
        recent: o.recent ?? 96,
        marked: 0,
        strictPrefill: o.strictPrefill ?? false,
      },
      ...(mean && meanPairs > 0 ? { mean: largestPairs(mean, { kvHeads, headDim, rotaryDim, count: meanPairs }) } : {}),
      ...(valueMean ? { valueMean } : {}),
    };
  },
});
