/**
 * The gradient of a convolution, with the patches P [places, C · U · V] of the images and dy as rows [places, O]:
 *
 *   dP    = dy · W, then for each pixel the sum of dP where it stands
 *   dW    = dyᵀ · P
 *   dbias = Σ over images and places of dy
 *
 * Patches are made again, some images at a time, as in the forward pass.
 */
import { type Backward, empty, type Keep, type Tensor } from "../../tensor/index.js";
import { mix } from "../elementwise/elementwise.js";
import { matmul } from "../matmul/matmul.js";
import { COLUMN_BLOCK, matrixFromTensor, type WeightMatrix } from "../matmul/weight-matrix.js";
import { sumAxes } from "../reduce/reduce.js";
import { launchSwapAxes } from "../swap-axes/swap-axes.js";
import { transpose } from "../transpose/transpose.js";
import { type ConvLayout, gatherPatches, imagesAtOnce, patchColumns } from "./patches.js";

const padded = (n: number): number => Math.ceil(n / COLUMN_BLOCK) * COLUMN_BLOCK;

/** [O, K] as a matrix whose rows are padded. */
export function paddedRows(flat: Tensor): WeightMatrix {
  const K = flat.shape[1]!;
  if (K % COLUMN_BLOCK === 0) return matrixFromTensor(flat.retain(), K);
  using turned = transpose(flat);
  return matrixFromTensor(transpose(turned, { columnsOut: padded(K) }), K);
}

export function conv2dBackward(x: Tensor, w: Tensor, layout: ConvLayout): (keep: Keep) => Backward {
  return (keep) => {
    const [x_, w_] = keep(x, w);
    return ([dy], needs) => {
      if (!dy) return [];
      const { images, outputs, outHeight, outWidth, depth } = layout;
      const places = outHeight * outWidth;
      const step = imagesAtOnce(layout);
      const dx = needs[0] ? empty(x_.device, x_.shape) : undefined;
      let dW: Tensor | undefined;
      using flat = w_.reshape([outputs, depth]);
      using turned = matrixFromTensor(transpose(flat, { columnsOut: padded(outputs) }), outputs);
      for (let first = 0; first < images; first += step) {
        const count = Math.min(step, images - first);
        const xOffset = first * outputs * places;
        if (dx) {
          using rows = empty(x_.device, [count * places, outputs]);
          launchSwapAxes(dy, rows, { a: count, b: outputs, c: places, u: 1, xOffset });
          using dPatches = matmul(rows, turned);
          gatherPatches(dPatches, dx, layout, first, count);
        }
        if (needs[1]) {
          const columns = count * places;
          using rows = empty(x_.device, [outputs, columns]);
          launchSwapAxes(dy, rows, { a: 1, b: count, c: outputs, u: places, xOffset });
          using matrix = matrixFromTensor(patchColumns(x_, layout, first, count, padded(columns)), columns);
          const part = matmul(rows, matrix);
          if (!dW) dW = part;
          else {
            const sum = mix(dW, part, 1, 1);
            dW.dispose();
            part.dispose();
            dW = sum;
          }
        }
      }
      let dBias: Tensor | undefined;
      if (needs[2]) dBias = sumAxes(dy, [0, 2, 3]).handOver();
      using whole = dW;
      return [dx?.handOver(), whole?.reshape(w_.shape).handOver(), dBias];
    };
  };
}
