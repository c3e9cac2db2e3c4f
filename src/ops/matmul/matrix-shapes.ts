/** Which tile of the matrix units a product takes. */
import type { WebGpuDevice } from "../../device/index.js";
import { type MatrixShape, matrixSubgroups, matrixWorkgroupBytes } from "./matrix-tile.wgsl.js";

const large: MatrixShape = { tokens: 128, rows: 128, block: 64, depth: 32, buffers: 1 };
const small: MatrixShape = { tokens: 64, rows: 64, block: 32, depth: 32, buffers: 1 };

/** All that can be chosen, best for large products first. */
export const matrixShapes: readonly MatrixShape[] = [large, small];

/** Tiles that keep a big GPU busy. */
const BUSY_TILES = 96;

/** Whether the device has the instructions, and room for the tile. */
export function takesMatrixShape({ features, limits }: WebGpuDevice, shape: MatrixShape): boolean {
  const { min, max } = features.subgroupSize;
  return (
    min === max &&
    (min === 32 || min === 64) &&
    features.f16 &&
    matrixSubgroups(shape) * min <= limits.maxInvocations &&
    matrixWorkgroupBytes(shape) <= limits.maxWorkgroupStorageBytes &&
    features.subgroupMatrix.some(
      (c) => c.component === "f16" && c.result === "f32" && c.M === 16 && c.N === 16 && c.K === 16,
    )
  );
}

/** The tile for T tokens and so many weight rows; undefined where the device has no matrix units. */
export function matrixShapeOf(device: WebGpuDevice, T: number, rows: number): MatrixShape | undefined {
  const fitting = matrixShapes.filter((shape) => takesMatrixShape(device, shape));
  const tiles = (shape: MatrixShape): number => Math.ceil(T / shape.tokens) * Math.ceil(rows / shape.rows);
  return fitting.find((shape) => tiles(shape) >= BUSY_TILES) ?? fitting.at(-1);
}

/** The tile for experts that get so many tokens each. */
export function expertMatrixShapeOf(device: WebGpuDevice, tokens: number): MatrixShape | undefined {
  const fitting = matrixShapes.filter((shape) => takesMatrixShape(device, shape));
  return fitting.find((shape) => tokens >= shape.tokens) ?? fitting.at(-1);
}
