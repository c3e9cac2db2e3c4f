/**
 * The last token of each row of the batch: the ones whose logits are wanted.
 *
 *   y[r, c] = x[firstToken(r) + tokenCount(r) − 1, c]
 *
 * Axes      T tokens, R rows, C channels; row-major. x: [T, C]; y: [R, C].
 * Departs   a row without tokens, or one that points outside of x, gives zeros rather than an error: rows are written by
 *           kernels, whom nobody can throw at.
 */
import { empty, record, ShapeError, type Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import { launchGatherRowsCpu } from "./gather-rows.launch-cpu.js";
import { launchGatherRowsWebGpu } from "./gather-rows.launch-webgpu.js";

/**
 * @param x f32 [T, C], T = the step's tokens.
 * @returns f32 [R, C].
 * @throws {ShapeError} x does not have the step's tokens.
 */
export function gatherLastTokens(x: Tensor, step: Step): Tensor {
  const [T, C] = x.shape;
  if (T !== step.tokenCount || C === undefined || x.shape.length !== 2) {
    throw new ShapeError("gatherLastTokens", "x", `[T=${step.tokenCount}, C] (the step's tokens)`, x.shape);
  }
  if (x.dtype !== "f32") throw new TypeError(`gatherLastTokens: x expected f32, got ${x.dtype}`);
  if (x.device !== step.rows.device) throw new TypeError("gatherLastTokens: x and the step live on different devices");
  // Token t is the only one of row t.
  if (step.isDecode && T === step.rowCount) return x.reshape(x.shape);
  const { device } = x;
  const y = empty(device, [step.rowCount, C], "f32", "last tokens");
  if (device.kind === "cpu") launchGatherRowsCpu(device, x, step, y);
  else launchGatherRowsWebGpu(device, x, step, y);
  record("gatherLastTokens", [x], [y]);
  return y;
}
