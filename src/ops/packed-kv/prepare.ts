/**
 * Makes a step's q, k and v ready for a packed cache, in place.
 *
 *   q ← rope(norm(q));  k ← rope(norm(k));  v ← v                       (the norms where given)
 *   kinds that rotate after rotary:  q, k ← H q, H k  per head          (scores do not change)
 *   v ← H_v (v − v̄)                                                     (undone on attention's result; v̄ where calibrated)
 *   kinds with a ring (`ringTokens` > 0): k, v are rounded to f16, so that chunk sizes do not change what is packed
 *
 * Axes      T tokens, H query heads, G key/value heads, D head size; qkv: [T, (H + 2G)·D].
 * Precision float32; cosines and sines by the angle sum of rope.ts; transforms in the order of fwht.ts; halves as the cache's:
 *           nearest even, saturating, smaller than 2⁻¹⁴ is zero. NaN in k and v becomes zero where they are rounded.
 */
import { empty, record, ShapeError, sameShape, type Tensor } from "../../tensor/index.js";
import { checkPages, checkQkv } from "../packed-attention/check-packed.js";
import type { RopeTable } from "../rope/rope.js";
import type { Step } from "../step/layout.js";
import type { PackedPages } from "./packed-pages.js";
import { prepareOnCpu } from "./prepare.launch-cpu.js";
import { prepareOnWebGpu } from "./prepare.launch-webgpu.js";

export { prepareVariants } from "./prepare.wgsl.js";

export interface PrepareOptions {
  /** H. */
  readonly heads: number;
  readonly rope?: RopeTable;
  /** [D] f32: weights of a norm of each q head, of each k head. */
  readonly qNorm?: Tensor;
  readonly kNorm?: Tensor;
  /** Of the norms. Default 1e-6. */
  readonly eps?: number;
}

/** What `packKv` and `packedAttention` need beside qkv. */
export interface PreparedKv extends Disposable {
  /**
   * ropeAtRead: [T, G·D] f32, the quantiser's input: keys before rotary, rotated and reordered. Kinds with a ring make them
   * from the rounded keys, taking rotary back.
   */
  readonly keyRows: Tensor | undefined;
  /**
   * meanPairs > 0: [T, H, meanPairs, 2] f32: (A, B) of q · R_p μ = Σ A cos(p θ_i) + B sin(p θ_i) over the kept pairs i of the
   * head's key/value head, from q after rotary and before H.
   */
  readonly meanTerms: Tensor | undefined;
  dispose(): void;
}

/** Options with defaults filled in, and the results, as the launches take them. */
export interface PreparePlan {
  readonly heads: number;
  readonly rope: RopeTable | undefined;
  readonly qNorm: Tensor | undefined;
  readonly kNorm: Tensor | undefined;
  readonly eps: number;
  readonly keyRows: Tensor | undefined;
  readonly meanTerms: Tensor | undefined;
}

/** Largest row of all key heads: it lies in workgroup memory. */
const LARGEST_KEY_ROW = 4096;

/**
 * @throws {ShapeError} qkv, the norms or the pages do not fit together.
 *
 * Cost: reads and writes qkv about once.
 */
export function prepareKv(qkv: Tensor, pages: PackedPages, o: PrepareOptions, step: Step): PreparedKv {
  checkPages("prepareKv", pages);
  checkQkv("prepareKv", qkv, pages, o.heads, step);
  checkPrepare(pages, o);
  const { device } = qkv;
  const { kvHeads, headDim, meanPairs, ropeAtRead } = pages.format;
  const plan: PreparePlan = {
    ...{ heads: o.heads, rope: o.rope, qNorm: o.qNorm, kNorm: o.kNorm, eps: o.eps ?? 1e-6 },
    keyRows: ropeAtRead ? empty(device, [step.tokenCount, kvHeads * headDim], "f32", "key rows") : undefined,
    meanTerms: meanPairs > 0 ? empty(device, [step.tokenCount, o.heads, meanPairs, 2], "f32", "mean terms") : undefined,
  };
  if (step.tokenCount > 0) {
    if (device.kind === "cpu") prepareOnCpu(device, qkv, pages, plan, step);
    else prepareOnWebGpu(device, qkv, pages, plan, step);
  }
  record("prepareKv", [qkv], [qkv]);
  const { keyRows, meanTerms } = plan;
  const dispose = () => {
    keyRows?.dispose();
    meanTerms?.dispose();
  };
  return { keyRows, meanTerms, dispose, [Symbol.dispose]: dispose };
}

function checkPrepare(pages: PackedPages, o: PrepareOptions): void {
  const { format } = pages;
  const { headDim, kvHeads } = format;
  for (const name of ["qNorm", "kNorm"] as const) {
    const weight = o[name];
    if (weight && !(weight.dtype === "f32" && sameShape(weight.shape, [headDim]))) {
      throw new ShapeError("prepareKv", name, `f32 [D=${headDim}]`, weight.shape);
    }
  }
  if (o.rope && o.rope.rotaryDim > headDim) {
    throw new ShapeError("prepareKv", "rope.rotaryDim", `at most the head size ${headDim}`, [o.rope.rotaryDim]);
  }
  for (const [name, width] of [
    ["keyRotation", format.keyRotation],
    ["valueRotation", format.valueRotation],
  ] as const) {
    if (width > 0 && width < 4) throw new ShapeError("prepareKv", name, "0 or at least 4", [width]);
  }
  if (!format.ropeAtRead && format.keyRotation > 0 && headDim % format.keyRotation !== 0) {
    throw new ShapeError("prepareKv", "keyRotation", `a divisor of D = ${headDim} after rotary`, [format.keyRotation]);
  }
  if (format.ropeAtRead && !o.rope) {
    throw new ShapeError("prepareKv", "rope", "a table, as rotary is applied at every read", "none");
  }
  if (format.ropeAtRead && kvHeads * headDim > LARGEST_KEY_ROW) {
    throw new ShapeError("prepareKv", "G·D", `at most ${LARGEST_KEY_ROW} with rotary at every read`, [
      kvHeads * headDim,
    ]);
  }
  if (format.meanPairs > 0) checkMean(pages, o);
  const { valueMean } = pages;
  if (format.valueMean && (valueMean?.dtype !== "f32" || !sameShape(valueMean.shape, [kvHeads, headDim]))) {
    throw new ShapeError("prepareKv", "valueMean", `f32 [G=${kvHeads}, D=${headDim}]`, valueMean?.shape ?? "none");
  }
}

function checkMean({ format, mean }: PackedPages, o: PrepareOptions): void {
  const { headDim, kvHeads, keys } = format;
  if (!o.rope) throw new ShapeError("prepareKv", "rope", "a table, as the mean key is taken off after rotary", "none");
  if (keys.layout !== "token")
    throw new ShapeError("prepareKv", "layout of keys", "token with a mean split", keys.layout);
  if (mean?.dtype !== "f32" || !sameShape(mean.shape, [kvHeads, headDim])) {
    throw new ShapeError("prepareKv", "mean", `f32 [G=${kvHeads}, D=${headDim}]`, mean?.shape ?? "none");
  }
}
