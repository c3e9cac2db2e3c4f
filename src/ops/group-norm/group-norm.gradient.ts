/**
 * The gradient of group normalisation, with x̂ = (x − mean) / σ of the row and g = weight · dy:
 *
 *   dx         = (g − mean(g) − x̂ · mean(g · x̂)) / σ        means over the row
 *   dweight[c] = Σ over n and places of dy · x̂
 *   dbias[c]   = Σ over n and places of dy
 */
import { type Backward, empty, type Keep, type Tensor } from "../../tensor/index.js";
import { sumAxes } from "../reduce/reduce.js";
import { launchGroupNormGradient, type NormLayout } from "./group-norm.launch.js";

export function groupNormBackward(
  x: Tensor,
  weight: Tensor,
  layout: NormLayout,
  eps: number,
): (keep: Keep) => Backward {
  return (keep) => {
    const [x_, weight_] = keep(x, weight);
    return ([dy], needs) => {
      if (!dy) return [];
      const { rows, groups, channels, places } = layout;
      const perChannel = (of: Tensor): Tensor => {
        using split = of.reshape([rows / groups, groups * channels, places]);
        return sumAxes(split, [0, 2]).handOver();
      };
      const dx = empty(x_.device, x_.shape);
      using terms = empty(x_.device, x_.shape);
      launchGroupNormGradient(x_, weight_, dy, dx, terms, layout, eps);
      return [dx.handOver(), needs[1] ? perChannel(terms) : undefined, needs[2] ? perChannel(dy) : undefined];
    };
  };
}
