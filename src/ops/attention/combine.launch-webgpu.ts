/** Launches `combine`; for every kernel that attends to shares of a context. */
import type { WebGpuDevice } from "../../device/index.js";
import type { Tensor } from "../../tensor/index.js";
import { type CombineVariant, combineKernel, combineParams, combineQuads } from "./combine.wgsl.js";

const few: CombineVariant = { lanes: 4 };
const many: CombineVariant = { lanes: 32 };
const kernels = { few: combineKernel(few), many: combineKernel(many) };

/**
 * out = Σ over parts of weight · part / Σ over parts of weight · sum, weight = exp(maximum − the largest maximum).
 *
 * @param parts f32 [part, T, H, D]: sums of probabilities times values, not divided.
 * @param stats f32 [part, T, H, 2]: the maximum that a part's probabilities were taken against, and their sum. A part whose
 *   sum is 0 is empty: what it holds in `parts` is not looked at.
 * @param out f32 [T, H·D]; zeros where all parts are empty.
 */
export function combineOnWebGpu(device: WebGpuDevice, parts: Tensor, stats: Tensor, out: Tensor): void {
  const [partCount = 0, , , headDim = 0] = parts.shape;
  const results = out.size / headDim;
  const isMany = partCount > 2 * few.lanes;
  const quads = combineQuads(isMany ? many : few);
  const groups = results * Math.ceil(headDim / 4 / quads);
  const width = Math.min(groups, 65_535);
  device.run(isMany ? kernels.many : kernels.few, {
    buffers: [parts, stats, out],
    params: combineParams.write({ results, parts: partCount, headDim4: headDim / 4 }),
    grid: [width, Math.ceil(groups / width)],
    cost: { bytes: parts.byteLength + stats.byteLength + out.byteLength, operations: 2 * parts.size },
  });
}
