/**
 * The gradient of RMS normalisation, with q = 1 / sqrt(mean(x²) + eps) of the row:
 *
 *   dx[t, c]  = q · w[c] · dy[t, c] − x[t, c] · q³ / C · Σ over c of w · dy · x
 *   dw[c]     = Σ over t of dy[t, c] · x[t, c] · q
 */
import { f32, type WebGpuKernel } from "../../device/index.js";
import { type Backward, empty, type Keep, type Tensor } from "../../tensor/index.js";
import { sumRows } from "../elementwise/elementwise.js";
import { rmsNormGradientKernel, rmsNormGradientParams } from "./rms-norm.gradient.wgsl.js";

/** Tokens whose terms of dw are added in one go; the blocks' sums follow. The CPU kernel has the same constant. */
const BLOCK_TOKENS = 32;

const kernels = new Map<number, WebGpuKernel>();

function kept(channels: number): WebGpuKernel {
  let kernel = kernels.get(channels);
  if (!kernel) {
    kernel = rmsNormGradientKernel(channels, BLOCK_TOKENS);
    kernels.set(channels, kernel);
  }
  return kernel;
}

export function rmsNormBackward(x: Tensor, weight: Tensor, eps: number): (keep: Keep) => Backward {
  return (keep) => {
    const [x_, weight_] = keep(x, weight);
    return ([dy], needs) => {
      if (!dy) return [];
      const { device } = x_;
      const channels = weight_.size;
      const tokens = x_.size / channels;
      const blocks = Math.ceil(tokens / BLOCK_TOKENS);
      const dx = empty(device, x_.shape);
      using sums = empty(device, [blocks, channels]);
      const cost = { bytes: 3 * x_.byteLength, operations: 10 * x_.size };
      if (device.kind === "cpu") {
        device.run("rmsNormGradient", {
          arguments: [x_, weight_, dy, dx, sums, channels, f32(eps), tokens],
          tasks: blocks,
          chunk: 1,
          cost,
        });
      } else {
        const width = Math.min(blocks, device.limits.maxWorkgroupsPerDimension);
        device.run(kept(channels), {
          buffers: [x_, weight_, dy, dx, sums],
          params: rmsNormGradientParams.write({ tokens, eps }),
          grid: [width, Math.ceil(blocks / width)],
          cost,
        });
      }
      const dWeight = needs[1] ? sumRows(sums).handOver() : undefined;
      return [dx.handOver(), dWeight];
    };
  };
}
