/**
 * Plain integers: groups of a token's channels, each with a scale and an offset.
 *
 *   int8, int4   keys after rotary; both sides rotated by a Hadamard transform of each head, so that no channel sticks out
 *   rtn          round to nearest, nothing else: the baseline
 *
 * Our choice  a token is packed at once (no window), and nothing is kept in 16 bits, unless asked for.
 */
import { groupWithin, ofLayer, powerOfTwoIn } from "../packed-options.js";
import type { PackedKind } from "../recipe.js";

const options = [
  "keyBits",
  "valueBits",
  "group",
  "valueGroup",
  "clip",
  "valueClip",
  "sinks",
  "recent",
  "rotate",
  "strictPrefill",
] as const;

/** @param rotates unless the options say otherwise. */
export function integers(bits: 2 | 3 | 4 | 8, quantiser: "zp" | "min", rotates: boolean, about: string): PackedKind {
  return {
    about,
    options,
    recipe({ kvHeads, headDim, layer, options: o }) {
      const rotation = (o.rotate ?? rotates) ? powerOfTwoIn(headDim) : 0;
      const side = { layout: "token", quantiser, norm: false } as const;
      const group = groupWithin(headDim, o.group ?? 32);
      const clip = o.clip ?? 1;
      return {
        format: {
          kvHeads,
          headDim,
          keys: { ...side, bits: ofLayer(o.keyBits, layer, bits), group, clip },
          values: {
            ...side,
            bits: ofLayer(o.valueBits ?? o.keyBits, layer, bits),
            group: o.valueGroup ? groupWithin(headDim, o.valueGroup) : group,
            clip: o.valueClip ?? clip,
          },
          ropeAtRead: false,
          keyRotation: rotation,
          valueRotation: rotation,
          ordered: false,
          meanPairs: 0,
          sinks: o.sinks ?? 0,
          recent: o.recent ?? 0,
          marked: 0,
          strictPrefill: o.strictPrefill ?? false,
        },
      };
    },
  };
}
