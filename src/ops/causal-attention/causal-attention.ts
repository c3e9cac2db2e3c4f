/**
 * Causal softmax attention within the rows of a step, with its gradient: what training computes, where no cache is needed.
 *
 *   P[t, j] = softmax over j of scale · q[t, h] · k[j, g],   first(row) ≤ j ≤ t, t − j < window;   out[t, h] = Σ_j P[t, j] v[j, g]
 *   dv[j] = Σ P dO;   dP = dO · v;   dS = P (dP − Σ_j P dP);   dq[t] = scale Σ_j dS k;   dk[j] = scale Σ_t dS q
 *
 * Axes      T tokens, H query heads, G key/value heads (g = ⌊h · G / H⌋), D head size ≤ 256. qkv: [T, (H + 2G)·D] f32 with q
 *           and k rotated already; out: [T, H·D] f32.
 * Precision float32; no [T, T] matrix is stored: the forward pass keeps the logarithm of each softmax's sum, and the
 *           backward pass computes the probabilities again, once for dq and once for dk and dv (Dao 2023, arXiv 2307.08691).
 * Departs   rows see nothing before the step: `past` only counts in positions. Dead rows (slot −1) see themselves.
 */
import { type Backward, empty, type Keep, record, ShapeError, sameShape, type Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import { launchCausalCpu } from "./causal-attention.launch-cpu.js";
import { launchCausalWebGpu } from "./causal-attention.launch-webgpu.js";
import type { CausalAttentionOptions, CausalBackwardTensors, CausalPlan } from "./plan.js";

export { causalAttentionVariants } from "./causal-attention.launch-webgpu.js";
export type { CausalAttentionOptions } from "./plan.js";

/** @returns f32 [T, H·D]. @throws {ShapeError} */
export function causalAttention(qkv: Tensor, o: CausalAttentionOptions, step: Step): Tensor {
  const { heads, kvHeads, headDim } = o;
  const T = step.tokenCount;
  const shape = [T, (heads + 2 * kvHeads) * headDim];
  if (qkv.dtype !== "f32" || !sameShape(qkv.shape, shape)) {
    throw new ShapeError("causalAttention", "qkv", `f32 [T, (H + 2G)·D] = [${shape.join(", ")}]`, qkv.shape);
  }
  if (headDim > 256 || heads % kvHeads !== 0) {
    throw new ShapeError("causalAttention", "heads", "a multiple of kvHeads, of at most 256 channels", [
      heads,
      kvHeads,
      headDim,
    ]);
  }
  const { device } = qkv;
  const out = empty(device, [T, heads * headDim]);
  const logSums = empty(device, [T, heads]);
  const plan: CausalPlan = { qkv, out, logSums, options: o, step };
  launch(plan);
  record("causalAttention", [qkv], [out], backward(plan));
  logSums.dispose();
  return out;
}

function backward({ qkv, out, logSums, options, step }: CausalPlan): (keep: Keep) => Backward {
  return (keep) => {
    const [qkv_, out_, logSums_] = keep(qkv, out, logSums);
    return ([dOut]) => {
      if (!dOut) return [];
      const { device } = qkv_;
      const dQkv = empty(device, qkv_.shape);
      // Σ_j P dP = dO · out, of each token and head.
      using pulls = empty(device, [step.tokenCount, options.heads]);
      launch({ qkv: qkv_, out: out_, logSums: logSums_, options, step }, { dOut, dQkv, pulls });
      return [dQkv.handOver()];
    };
  };
}

function launch(plan: CausalPlan, gradient?: CausalBackwardTensors): void {
  const { device } = plan.qkv;
  if (plan.step.tokenCount === 0) return;
  if (device.kind === "cpu") launchCausalCpu(device, plan, gradient);
  else launchCausalWebGpu(device, plan, gradient);
}
