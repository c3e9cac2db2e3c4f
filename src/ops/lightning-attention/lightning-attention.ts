/**
 * Lightning attention: linear attention with a scalar decay a head, from and into a recurrent state.
 *
 *   S ← exp(−s_h) · S + k_tᵀ v_t,   out[t, h] = q_t S      (the new state: a token sees itself)
 *
 * over the tokens of each row in order; S is the state of the row's slot, updated in place. No 1/√D, no softmax, no
 * denominator.
 *
 * Axes      T tokens, H heads, D head size (1 … 256). qkv: [T, H, 3, D] (per head q, then k, then v, after their
 *           activation); state: [slots, H, D (key), D (value)]; decay: [H], slopes s ≥ 0 of the layer; out: [T, H·D].
 * Precision float32 everywhere; the reference computes in float64. Steps of many tokens are computed in blocks of B,
 *           whose results agree with the recurrence up to rounding:
 *             A = (Q Kᵀ) ⊙ exp(−s(i − j)) for i ≥ j,   O = A V + diag(exp(−s i)) Q S,
 *             S ← exp(−s m) S + (diag(exp(−s(m − i))) K)ᵀ V,   i, j = 1 … m ≤ B
 *           Every exponent is ≤ 0. exp(−s(i − j)) is never split into exp(−s i) · exp(+s j), which overflows.
 * Source    MiniMax-01, arXiv 2501.08313; MiniMax-M1, arXiv 2506.13585; Qin et al. 2024, arXiv 2401.04658.
 * Gradient  lightning-attention.gradient.ts: of qkv; the state after the step passes none on.
 * Departs   rows of a step may have any lengths, and a state is continued at any length: no padding and no multiple of B.
 *           A row with `past` = 0 does not reset its state: the pool clears a slot when a sequence starts.
 *           Decays below 1e-30 count as 0 on the CPU, where products with subnormal numbers are slow.
 *
 * The CPU's blocks of a row follow each other. On WebGPU B is 64, and the states before all blocks are computed first: then
 * every block is taken side by side.
 */
import { activeTape, empty, record, ShapeError, sameShape, type Tensor } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import { lightningBackward } from "./lightning-attention.gradient.js";
import { lightningOnCpu } from "./lightning-attention.launch-cpu.js";
import { lightningOnWebGpu } from "./lightning-attention.launch-webgpu.js";
import { copyOf, type LightningAttentionOptions, type LightningPlan, MAX_HEAD_DIM } from "./plan.js";

export { lightningAttentionVariants } from "./lightning-attention.launch-webgpu.js";
export type { LightningAttentionOptions } from "./plan.js";

/**
 * Attention of every token of the step to its sequence's state and to the row's tokens up to itself.
 *
 * @param qkv f32 [T, H·3·D].
 * @param state f32 [slots, H, D, D], updated in place. Rows with slot −1 give zeros and touch no state.
 * @param decay f32 [H].
 * @returns f32 [T, H·D].
 * @throws {ShapeError} a shape does not fit the others.
 *
 * Cost: 5·H·D² FLOPs a token in a decode step, which reads and writes the state once; in blocks about
 * 4·H·D² + 2·H·D·B a token.
 */
export function lightningAttention(
  qkv: Tensor,
  state: Tensor,
  decay: Tensor,
  step: Step,
  options: LightningAttentionOptions = {},
): Tensor {
  const [slots, heads, headDim] = state.shape;
  if (
    slots === undefined ||
    heads === undefined ||
    headDim === undefined ||
    !sameShape(state.shape, [slots, heads, headDim, headDim]) ||
    headDim < 1 ||
    headDim > MAX_HEAD_DIM
  ) {
    throw new ShapeError("lightningAttention", "state", `[slots, H, D, D] with D ≤ ${MAX_HEAD_DIM}`, state.shape);
  }
  const columns = heads * 3 * headDim;
  check("qkv", qkv, [step.tokenCount, columns], "[T, H·3·D]", state);
  check("decay", decay, [heads], "[H]", state);
  if (state.dtype !== "f32") throw new TypeError(`lightningAttention: state expected f32, got ${state.dtype}`);
  const { device } = state;
  if (step.rows.device !== device)
    throw new TypeError("lightningAttention: the step lives on another device than state");

  const out = empty(device, [step.tokenCount, heads * headDim], "f32", "lightning attention");
  const isRecorded = activeTape() !== undefined;
  const plan: LightningPlan = { qkv, state, decay, out, heads, headDim, step, precision: options.precision };
  const isEmpty = step.tokenCount === 0 || heads === 0;
  // The gradient begins with the state that was, which is overwritten: the chunks' states know it, where there are any.
  const copies = isRecorded && (device.kind === "cpu" || step.isDecode);
  const before = copies ? copyOf(device, state) : undefined;
  let states: Tensor | undefined;
  if (!isEmpty) {
    if (device.kind === "webgpu") states = lightningOnWebGpu(device, plan);
    else lightningOnCpu(device, plan);
  }
  if (isRecorded) record("lightningAttention", [qkv, state, decay], [out], lightningBackward(plan, before, states));
  before?.dispose();
  states?.dispose();
  return out;
}

function check(name: string, tensor: Tensor, shape: readonly number[], axes: string, state: Tensor): void {
  if (tensor.dtype !== "f32") throw new TypeError(`lightningAttention: ${name} expected f32, got ${tensor.dtype}`);
  if (tensor.device !== state.device) {
    throw new TypeError(`lightningAttention: ${name} lives on another device than state`);
  }
  if (!sameShape(tensor.shape, shape)) {
    throw new ShapeError("lightningAttention", name, `${axes} = [${shape.join(", ")}]`, tensor.shape);
  }
}
