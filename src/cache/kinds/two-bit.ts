/**
 * `2bit`: what `--kv 2bit` stands for. The mean split with 2-bit codes; where a calibration file says which layers lose most,
 * with the widths that it gives them.
 *
 * Our choice  of all recipes here it loses least at equal bits (docs/kv-caches.md has the figures).
 */
import type { PackedKind } from "../recipe.js";
import { meansplit } from "./meansplit.js";

const uniform = meansplit(2);

export const twoBit: PackedKind = {
  ...uniform,
  about: "the best of these at two bits: mean split, layers as wide as their calibration says",
  recipe(input) {
    const widths = input.calibration?.layers[input.layer]?.widths;
    return uniform.recipe({ ...input, options: { ...widths, ...input.options } });
  },
};
