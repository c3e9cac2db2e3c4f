/**
 * The gradient of lightning attention, from the token recurrence:
 *
 *   S_t = λ S_{t−1} + k_tᵀ v_t       dq_t = dO_t S_tᵀ
 *   G_t = λ G_{t+1} + q_tᵀ dO_t      dk_t = v_t G_tᵀ,   dv_t = k_t G_t        (G_T = q_Tᵀ dO_T + dS_T)
 *   dS_0 = λ G_1
 *
 * It is computed in chunks, like the operation itself: the states before all chunks and the gradients of the states behind them
 * first, then every chunk by itself (specification A9). WebGPU keeps the states before the chunks of the forward pass (D · D / 64
 * numbers a token and head); the CPU keeps the state before the step, and computes the others again.
 *
 * Axes      as in lightning-attention.ts; slopes are constants.
 * Precision float32.
 */
import { type Backward, empty, type Keep, type Tensor, zeros } from "../../tensor/index.js";
import { lightningGradientOnCpu } from "./gradient.launch-cpu.js";
import { lightningGradientOnWebGpu } from "./gradient.launch-webgpu.js";
import { copyOf, type LightningGradientInput, type LightningPlan } from "./plan.js";

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

/**
 * For `record`, with the inputs [qkv, state, decay].
 *
 * @param before a copy of the state, which the forward pass overwrites. @param states those before all chunks: one of the two.
 */
export function lightningBackward(
  { qkv, state, decay, step, precision }: LightningPlan,
  before: Tensor | undefined,
  states: Tensor | undefined,
): (keep: Keep) => Backward {
  return (keep) => {
    const [qkv_, decay_, before_, states_] = keep(qkv, decay, before ?? state, states);
    return ([dOut]) => {
      if (!dOut) return [];
      const input = { qkv: qkv_, state: before_, decay: decay_, dOut, step, precision };
      const { dQkv, dState } = lightningGradient(states_ ? { ...input, states: states_ } : input);
      dState.dispose();
      return [dQkv.handOver()];
    };
  };
}
