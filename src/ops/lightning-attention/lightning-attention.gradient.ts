/**
 * The gradient of lightning attention, from the token recurrence:
 *
 *   S_t = λ S_{t−1} + k_tᵀ v_t       dq_t = dO_t S_tᵀ
 *   G_t = λ G_{t+1} + q_tᵀ dO_t      dk_t = v_t G_tᵀ,   dv_t = k_t G_t        (G_T = q_Tᵀ dO_T + dS_T)
 *   dS_0 = λ G_1
 *
 * It is computed in chunks, like the operation itself: the states before all chunks and the gradients of the states behind them
 * first, then every chunk by itself (specification A9). Nothing is kept between forward and backward pass but qkv and the state
 * before the step: the states between chunks are computed again.
 *
 * Axes      as in lightning-attention.ts; slopes are constants.
 * Precision float32.
 */
import { type Backward, empty, type Keep, type Tensor, zeros } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import { lightningGradientOnCpu } from "./gradient.launch-cpu.js";
import { lightningGradientOnWebGpu } from "./gradient.launch-webgpu.js";
import { copyOf, type LightningGradientInput } from "./plan.js";

export type { LightningGradientInput } from "./plan.js";

/** @returns gradients of qkv, [T, H·3·D], and of the state before the step, [slots, H, D, D]. */
export function lightningGradient(input: LightningGradientInput): { readonly dQkv: Tensor; readonly dState: Tensor } {
  const { qkv, state, dFinal, step } = input;
  const { device } = qkv;
  const dQkv = empty(device, qkv.shape);
  const dState = dFinal ? copyOf(device, dFinal) : zeros(device, state.shape);
  if (step.tokenCount > 0 && qkv.size > 0) {
    if (device.kind === "cpu") lightningGradientOnCpu(device, input, dQkv, dState);
    else lightningGradientOnWebGpu(device, input, dQkv, dState);
  }
  return { dQkv, dState };
}

/** For `record`, with the inputs [qkv, state, decay]. `before`: a copy of the state, which the forward pass overwrites. */
export function lightningBackward(qkv: Tensor, before: Tensor, decay: Tensor, step: Step): (keep: Keep) => Backward {
  return (keep) => {
    const [qkv_, state, decay_] = keep(qkv, before, decay);
    return ([dOut]) => {
      if (!dOut) return [];
      const { dQkv, dState } = lightningGradient({ qkv: qkv_, state, decay: decay_, dOut, step });
      dState.dispose();
      return [dQkv.handOver()];
    };
  };
}
