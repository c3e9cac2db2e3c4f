/**
 * The gradient of RMS normalisation, with q = 1 / sqrt(mean(x²) + eps) of the row:
 *
 *   dx[t, c]  = q · w[c] · dy[t, c] − x[t, c] · q³ / C · Σ over c of w · dy · x
 *   dw[c]     = Σ over t of dy[t, c] · x[t, c] · q
 */
import { f32 } from "../../device/index.js";
import { type Backward, empty, type Keep, type Tensor } from "../../tensor/index.js";
import { sumRows } from "../elementwise/elementwise.js";
import { rmsNormGradientKernel, rmsNormGradientParams } from "./rms-norm.gradient.wgsl.js";

export function rmsNormBackward(x: Tensor, weight: Tensor, eps: number): (keep: Keep) => Backward {
  return (keep) => {
    const [x_, weight_] = keep(x, weight);
    return ([dy], needs) => {
      if (!dy) return [];
      const { device } = x_;
      const channels = weight_.size;
      const tokens = x_.size / channels;
      const dx = empty(device, x_.shape);
      using terms = empty(device, x_.shape);
      const cost = { bytes: 4 * x_.byteLength, operations: 10 * x_.size };
      if (device.kind === "cpu") {
        device.run("rmsNormGradient", {
          arguments: [x_, weight_, dy, dx, terms, channels, f32(eps)],
          tasks: tokens,
          cost,
        });
      } else {
        const width = Math.min(tokens, device.limits.maxWorkgroupsPerDimension);
        device.run(rmsNormGradientKernel, {
          buffers: [x_, weight_, dy, dx, terms],
          params: rmsNormGradientParams.write({ channels, tokens, eps }),
          grid: [width, Math.ceil(tokens / width)],
          cost,
        });
      }
      const dWeight = needs[1] ? sumRows(terms).handOver() : undefined;
      return [dx.handOver(), dWeight];
    };
  };
}
