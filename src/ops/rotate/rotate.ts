/**
 * Rotary embedding of a step's q and k heads into a new tensor: the form that training needs, where nothing is overwritten.
 *
 *   y[i], y[i + r/2] = x[i]·cos a − x[i + r/2]·sin a, x[i + r/2]·cos a + x[i]·sin a,   a = angle(position, i), i < r/2
 *   other channels, and v heads, pass
 *
 * Axes      T tokens, H query heads, G key/value heads, D head size, r rotary channels. x, y: [T, (H + 2G)·D] f32.
 * Precision float32; cosines and sines by the angle sum of rope.ts.
 * Gradient  the rotation by the negative angle (times the attention factor, which scales both directions alike).
 */
import { f32, type WebGpuKernel } from "../../device/index.js";
import { empty, record, ShapeError, sameShape, type Tensor } from "../../tensor/index.js";
import type { RopeTable } from "../rope/rope.js";
import type { Step } from "../step/layout.js";
import { rotateKernel, rotateParams } from "./rotate.wgsl.js";

export interface RotateOptions {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rope: RopeTable;
}

const plain = rotateKernel(false);
const vectors = rotateKernel(true);

export const rotateVariants = (): WebGpuKernel[] => [plain, vectors];

/** @returns f32 [T, (H + 2G)·D]. @throws {ShapeError} */
export function rotate(x: Tensor, o: RotateOptions, step: Step): Tensor {
  const shape = [step.tokenCount, (o.heads + 2 * o.kvHeads) * o.headDim];
  if (!sameShape(x.shape, shape))
    throw new ShapeError("rotate", "x", `[T, (H + 2G)·D] = [${shape.join(", ")}]`, x.shape);
  const y = turned(x, o, step, 1);
  record("rotate", [x], [y], () => ([dy]) => {
    if (!dy) return [];
    const dx = turned(dy, o, step, -1);
    return [dx.handOver()];
  });
  return y;
}

function turned(x: Tensor, { heads, kvHeads, headDim, rope }: RotateOptions, step: Step, direction: 1 | -1): Tensor {
  const { device } = x;
  const y = empty(device, x.shape);
  const turnedHeads = heads + kvHeads;
  const columns = heads + 2 * kvHeads;
  const cost = { bytes: 2 * x.byteLength, operations: 6 * x.size };
  if (device.kind === "cpu") {
    device.run("rotate", {
      arguments: [
        ...[x, step.tokens, rope.table, y],
        ...[columns, turnedHeads, headDim, rope.rotaryDim, rope.highLines, f32(direction)],
      ],
      tasks: step.tokenCount * columns,
      cost,
    });
  } else {
    const isWide = headDim % 4 === 0 && rope.rotaryDim % 8 === 0;
    const unit = isWide ? 4 : 1;
    const groups = Math.ceil(x.size / unit / 64);
    const width = Math.min(groups, 65_535);
    device.run(isWide ? vectors : plain, {
      buffers: [x, step.tokens, rope.table, y],
      params: rotateParams.write({
        elements: x.size / unit,
        columns,
        turnedHeads,
        headDim: headDim / unit,
        rotaryDim: rope.rotaryDim / unit,
        highLines: rope.highLines,
        direction,
      }),
      grid: [width, Math.ceil(groups / width)],
      cost,
    });
  }
  return y;
}
