/**
 * AKVQ-VL: the first layers, which look at text, keep text in 4 bits; the others keep 2 bits and their pivots exact. The
 * newest 128 tokens are exact everywhere. Keys after rotary, both sides rotated a head at a time, asymmetric groups per token.
 *
 * Source   Su et al. 2025, arXiv 2501.15021: budgets 16/4/2, groups of 128, clip 0.8 at 2 bits, 15 pivots, window 128.
 * Departs  the paper gives no rule for pivots: the 15 tokens of a prompt with the largest entry in the layer's input, and of
 *          the generated ones those that stand out as much (MarkRule), at most 16 more. Which layers are text-salient can be
 *          measured only with images: without a calibration file that says so, the first two. Every token counts as text.
 *          Options `rotate`, `textLayers` and `marked` take the method apart.
 */
import { groupWithin, ofLayer, powerOfTwoIn } from "../packed-options.js";
import type { PackedKind } from "../recipe.js";

const PIVOTS = 15;
const MORE_PIVOTS = 16;
const TEXT_LAYERS = 2;

export const akvq = (bits: 2): PackedKind => ({
  about: "AKVQ-VL: 4 bits for text-salient layers, else 2 bits with pivots exact; the newest 128 exact",
  options: ["keyBits", "valueBits", "group", "clip", "recent", "marked", "rotate", "textLayers", "strictPrefill"],
  recipe({ kvHeads, headDim, layer, calibration, options: o }) {
    const policy = calibration?.layers[layer]?.policy;
    const isText = o.textLayers === undefined && policy ? policy === "text" : layer < (o.textLayers ?? TEXT_LAYERS);
    const pivots = isText ? 0 : (o.marked ?? PIVOTS);
    const rotation = (o.rotate ?? true) ? powerOfTwoIn(headDim) : 0;
    const side = (wanted: PackedBits) => {
      const width = isText ? 4 : wanted;
      return {
        layout: "token",
        quantiser: "zp",
        norm: false,
        bits: width,
        group: groupWithin(headDim, o.group ?? 128),
        clip: width === 2 ? (o.clip ?? 0.8) : 1,
      } as const;
    };
    return {
      format: {
        kvHeads,
        headDim,
        keys: side(ofLayer(o.keyBits, layer, bits)),
        values: side(ofLayer(o.valueBits, layer, bits)),
        ropeAtRead: false,
        keyRotation: rotation,
        valueRotation: rotation,
        ordered: false,
        meanPairs: 0,
        sinks: 0,
        recent: o.recent ?? 128,
        marked: pivots === 0 ? 0 : pivots + MORE_PIVOTS,
        strictPrefill: o.strictPrefill ?? false,
      },
      ...(pivots > 0 ? { marks: { kind: "tokens", count: pivots, ratio: 0.5, outlier: 20 } as const } : {}),
    };
  },
});

type PackedBits = ReturnType<typeof ofLayer>;
