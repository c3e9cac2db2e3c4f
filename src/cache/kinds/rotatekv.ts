/**
 * RotateKV: keys before rotary, rotated over several heads together, channels sorted by their calibrated mean; per token,
 * asymmetric groups, clipped. Rotary and the rotation are applied and undone at every read. Tokens with massive activations
 * stay in 16 bits; nothing else does.
 *
 * Source   Su et al. 2025, arXiv 2501.16383, and its public code: four heads a rotation, groups of 128, clip 0.8 at 2 bits, the
 *          20 largest entries of a layer's input.
 * Departs  3 bits have seven steps (the code divides by 8 and clips the top); calibration is on training text (the code's is
 *          the test split); H without a divisor 4 takes the largest below, transforms that are no power of two go by blocks.
 *          Prompts are attended exactly unless `strictPrefill` (the code packs them first). Options `heads`, `reorder`,
 *          `beforeRope` and `marked` take the method apart.
 */
import { groupWithin, ofLayer, powerOfTwoIn } from "../packed-options.js";
import type { PackedKind } from "../recipe.js";

/** Largest entries of the residual stream whose tokens are kept. */
export const MASSIVE_ENTRIES = 20;

/** Heads that are rotated together: the largest divisor of H not above `wanted`. */
export function headsTogether(kvHeads: number, wanted: number): number {
  for (let g = Math.min(wanted, kvHeads); g > 1; g--) if (kvHeads % g === 0) return g;
  return 1;
}

/** Width of the Hadamard blocks over `heads` heads. */
export function keyRotationWidth(kvHeads: number, headDim: number, heads = 4): number {
  return powerOfTwoIn(headsTogether(kvHeads, heads) * headDim);
}

/** The orthonormal Hadamard transform of blocks of `width` (a power of two), float64. */
function hadamardBlocks(x: Float64Array, width: number): Float64Array {
  const y = Float64Array.from(x, (value) => value / Math.sqrt(width));
  for (let h = 1; h < width; h *= 2) {
    for (let i = 0; i < y.length; i++) {
      if ((i & h) !== 0) continue;
      const [a = 0, b = 0] = [y[i], y[i + h]];
      y[i] = a + b;
      y[i + h] = a - b;
    }
  }
  return y;
}

/**
 * Stored channel j is rotated channel order[j]: ascending by the mean of the rotated channel, over the row or within each
 * block of `width`. The transform is linear: the rotated mean is the mean's rotation.
 */
export function channelOrder(meanAll: Float64Array, width: number, reorder: "global" | "block"): Int32Array {
  const rotated = hadamardBlocks(meanAll, width);
  const span = reorder === "global" ? rotated.length : width;
  const order = Int32Array.from(rotated.keys());
  for (let at = 0; at < order.length; at += span) {
    order.subarray(at, at + span).sort((a, b) => (rotated[a] ?? 0) - (rotated[b] ?? 0) || a - b);
  }
  return order;
}

export const rotatekv = (bits: 2 | 3 | 4): PackedKind => ({
  calibrated: true,
  about: "RotateKV: keys before rotary, grouped heads rotated, channels sorted, massive tokens exact",
  options: [
    "keyBits",
    "valueBits",
    "group",
    "valueGroup",
    "clip",
    "valueClip",
    "sinks",
    "recent",
    "marked",
    "heads",
    "reorder",
    "beforeRope",
    "strictPrefill",
  ],
  recipe({ kvHeads, headDim, layer, calibration, options: o }) {
    const keyBits = ofLayer(o.keyBits, layer, bits);
    const valueBits = ofLayer(o.valueBits, layer, bits);
    const ropeAtRead = o.beforeRope ?? true;
    const width = ropeAtRead ? keyRotationWidth(kvHeads, headDim, o.heads ?? 4) : powerOfTwoIn(headDim);
    const reorder = o.reorder ?? "global";
    const mean = calibration?.layers[layer]?.meanAllKeys;
    const ordered = ropeAtRead && reorder !== "none" && mean !== undefined;
    const marked = o.marked ?? MASSIVE_ENTRIES;
    const side = { layout: "token", quantiser: "zp", norm: false } as const;
    return {
      format: {
        kvHeads,
        headDim,
        keys: {
          ...side,
          bits: keyBits,
          group: groupWithin(headDim, o.group ?? 128),
          clip: o.clip ?? (keyBits === 2 ? 0.8 : 1),
        },
        values: {
          ...side,
          bits: valueBits,
          group: groupWithin(headDim, o.valueGroup ?? o.group ?? 128),
          clip: o.valueClip ?? (valueBits === 2 ? 0.8 : 1),
        },
        ropeAtRead,
        keyRotation: width,
        valueRotation: powerOfTwoIn(headDim),
        ordered,
        meanPairs: 0,
        sinks: o.sinks ?? 0,
        recent: o.recent ?? 0,
        marked,
        strictPrefill: o.strictPrefill ?? false,
      },
      ...(marked > 0 ? { marks: { kind: "entries", count: MASSIVE_ENTRIES } as const } : {}),
      ...(ordered ? { order: channelOrder(mean, width, reorder) } : {}),
    };
  },
});
