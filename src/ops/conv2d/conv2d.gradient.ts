/**
 * The gradient of a convolution, with the patches P [places, C · U · V] of the images and dy as rows [places, O]:
 *
 *   dP    = dy · W, then for each pixel the sum of dP where it stands
 *   dW    = dyᵀ · P
 *   dbias = Σ over images and places of dy
 *
 * Patches are made again, some at a time, as in the forward pass.
 */
import { type Backward, empty, type Keep, type Tensor } from "../../tensor/index.js";
import { mix } from "../elementwise/elementwise.js";
import { matmul } from "../matmul/matmul.js";
import { COLUMN_BLOCK, matrixFromTensor, type WeightMatrix } from "../matmul/weight-matrix.js";
import { sumAxes } from "../reduce/reduce.js";
import { launchSwapAxes, type SwapSizes } from "../swap-axes/swap-axes.js";
import { transpose } from "../transpose/transpose.js";
import { type ConvLayout, gatherPatches, type PatchRange, patchColumns, patchRanges } from "./patches.js";

const padded = (n: number): number => Math.ceil(n / COLUMN_BLOCK) * COLUMN_BLOCK;

/** [O, K] as a matrix whose rows are padded. */
export function paddedRows(flat: Tensor): WeightMatrix {
  const K = flat.shape[1]!;
  if (K % COLUMN_BLOCK === 0) return matrixFromTensor(flat.retain(), K);
  using turned = transpose(flat);
  return matrixFromTensor(transpose(turned, { columnsOut: padded(K) }), K);
}

/** How the images' places y[n, O, place] of a range become rows [place, O] or [O, place], and [place, O] becomes y. */
export function placed(
  { outputs, outHeight, outWidth }: ConvLayout,
  { first, count }: PatchRange,
): { readonly result: SwapSizes; readonly rows: SwapSizes; readonly columns: SwapSizes } {
  const places = outHeight * outWidth;
  if (count % places === 0) {
    const images = count / places;
    const offset = first * outputs;
    return {
      result: { a: images, b: places, c: outputs, u: 1, yOffset: offset },
      rows: { a: images, b: outputs, c: places, u: 1, xOffset: offset },
      columns: { a: 1, b: images, c: outputs, u: places, xOffset: offset },
    };
  }
  // A part of one image: rows of y go on behind it.
  const offset = (first - (first % places)) * outputs + (first % places);
  return {
    result: { a: 1, b: count, c: outputs, u: 1, yOffset: offset, yRow: places },
    rows: { a: 1, b: outputs, c: count, u: 1, xOffset: offset, xRow: places },
    columns: { a: outputs, b: 1, c: 1, u: count, xOffset: offset, xRow: places },
  };
}

export function conv2dBackward(
  x: Tensor,
  w: Tensor,
  layout: ConvLayout,
  patchBytes: number | undefined,
): (keep: Keep) => Backward {
  return (keep) => {
    const [x_, w_] = keep(x, w);
    return ([dy], needs) => {
      if (!dy) return [];
      const { outputs, depth } = layout;
      const dx = needs[0] ? empty(x_.device, x_.shape) : undefined;
      let dW: Tensor | undefined;
      using flat = w_.reshape([outputs, depth]);
      using turned = matrixFromTensor(transpose(flat, { columnsOut: padded(outputs) }), outputs);
      for (const range of patchRanges(layout, patchBytes)) {
        const { count } = range;
        const sizes = placed(layout, range);
        if (dx) {
          using rows = empty(x_.device, [count, outputs]);
          launchSwapAxes(dy, rows, sizes.rows);
          using dPatches = matmul(rows, turned);
          gatherPatches(dPatches, dx, layout, range);
        }
        if (needs[1]) {
          using rows = empty(x_.device, [outputs, count]);
          launchSwapAxes(dy, rows, sizes.columns);
          using matrix = matrixFromTensor(patchColumns(x_, layout, range, padded(count)), count);
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
