/**
 * KIVI: keys by channels, in blocks of tokens; values by tokens; the newest tokens exact.
 *
 * Source   Liu et al. 2024, arXiv 2402.02750: groups of 32, a residual of up to 128 tokens, minimum as offset.
 * Departs  there the residual is packed as a whole when it is full; here the oldest block of it is, so that the newest
 *          `recent` tokens are always exact: 96 to 127 of them with the default, instead of 0 to 127.
 */
import { groupWithin, ofLayer } from "../packed-options.js";
import type { PackedKind } from "../recipe.js";

export const kivi = (bits: 2 | 3 | 4): PackedKind => ({
  about: "KIVI: keys by channels, values by tokens, the newest exact",
  options: ["keyBits", "valueBits", "group", "valueGroup", "clip", "valueClip", "sinks", "recent", "strictPrefill"],
  recipe({ kvHeads, headDim, layer, options: o }) {
    const group = o.group ?? 32;
    const side = { quantiser: "min", norm: false } as const;
    return {
      format: {
        kvHeads,
        headDim,
        keys: { ...side, bits: ofLayer(o.keyBits, layer, bits), layout: "channel", group, clip: o.clip ?? 1 },
        values: {
          ...side,
          bits: ofLayer(o.valueBits, layer, bits),
          layout: "token",
          group: groupWithin(headDim, o.valueGroup ?? 32),
          clip: o.valueClip ?? 1,
        },
        ropeAtRead: false,
        keyRotation: 0,
        valueRotation: 0,
        ordered: false,
        meanPairs: 0,
        sinks: o.sinks ?? 0,
        recent: o.recent ?? Math.max(0, 128 - group),
        marked: 0,
        strictPrefill: o.strictPrefill ?? false,
      },
    };
  },
});
