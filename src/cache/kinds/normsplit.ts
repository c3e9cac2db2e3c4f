/**
 * Norm split: each key is rotated and divided by its root mean square, which is kept in 16 bits; what is left goes by channels
 * in blocks of tokens. Values are rotated and go by tokens.
 *
 * Source   OScaR, arXiv 2605.19660: Hadamard after rotary, the norm apart, groups of 32 tokens of a channel.
 * Departs  the norm is per head (there: over all heads of a token); ranges of keys are clipped by the group's size instead of
 *          not at all: the least squared error of a normal distribution, measured on 4,000 groups for each size; 4 first and
 *          32 newest tokens stay exact (there: a residual of 128). Values are not clipped: that always errs towards zero, and
 *          attention averages values, which takes away only errors of either sign.
 */
import { groupWithin, ofLayer, powerOfTwoIn } from "../packed-options.js";
import type { PackedKind } from "../recipe.js";

/** Of the range, by group and bits: what loses least of a normal distribution. */
const clips: Readonly<Record<number, readonly [number, number, number, number]>> = {
  // group: for 2, 3, 4 and 8 bits
  16: [0.8, 0.95, 1, 1],
  32: [0.725, 0.9, 0.975, 1],
  64: [0.65, 0.85, 0.95, 1],
  128: [0.6, 0.8, 0.925, 1],
};

/** Groups in between take the next smaller size's clip. */
export function gaussianClip(bits: 2 | 3 | 4 | 8, group: number): number {
  const size = [128, 64, 32, 16].find((known) => group >= known) ?? 16;
  const index = { 2: 0, 3: 1, 4: 2, 8: 3 }[bits];
  return clips[size]?.[index] ?? 1;
}

export const normsplit = (bits: 2 | 3): PackedKind => ({
  about: "rotated keys, norm apart, by channels; rotated values by tokens",
  options: ["keyBits", "valueBits", "group", "valueGroup", "clip", "valueClip", "sinks", "recent", "strictPrefill"],
  recipe({ kvHeads, headDim, layer, options: o }) {
    const keyBits = ofLayer(o.keyBits, layer, bits);
    const valueBits = ofLayer(o.valueBits, layer, 2);
    const group = o.group ?? 32;
    const valueGroup = groupWithin(headDim, o.valueGroup ?? o.group ?? 32);
    const rotation = powerOfTwoIn(headDim);
    return {
      format: {
        kvHeads,
        headDim,
        keys: {
          bits: keyBits,
          layout: "channel",
          group,
          quantiser: "min",
          clip: o.clip ?? gaussianClip(keyBits, group),
          norm: true,
        },
        values: {
          bits: valueBits,
          layout: "token",
          group: valueGroup,
          quantiser: "min",
          clip: o.valueClip ?? 1,
          norm: false,
        },
        ropeAtRead: false,
        keyRotation: rotation,
        valueRotation: rotation,
        ordered: false,
        meanPairs: 0,
        sinks: o.sinks ?? 4,
        recent: o.recent ?? 32,
        marked: 0,
        strictPrefill: o.strictPrefill ?? false,
      },
    };
  },
});
