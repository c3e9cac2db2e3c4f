/**
 * The gradient of lightning attention, from the token recurrence:
 *
 *   S_t = λ S_{t−1} + k_tᵀ v_t       dq_t = dO_t S_tᵀ
 *   G_t = λ G_{t+1} + q_tᵀ dO_t      dk_t = v_t G_tᵀ,   dv_t = k_t G_t        (G_T = q_Tᵀ dO_T + dS_T)
 *   dS_0 = λ G_1
 *
 * Each of the three is one sweep over a row's tokens with a D × D matrix that is decayed, gets an outer product and is
 * multiplied with a vector: M_i ← f · M_i + a_i · b, out_i = M_i · w. Nothing is kept between forward and backward pass but
 * qkv and the state before the step.
 *
 * Axes      as in lightning-attention.ts; slopes are constants.
 * Precision float32.
 */
import type { Device } from "../../device/index.js";
import { type Backward, empty, type Keep, type Tensor, zeros } from "../../tensor/index.js";
import type { Step } from "../step/layout.js";
import { sweepKernel, sweepParams, sweeps } from "./lightning-attention.gradient.wgsl.js";

export interface LightningGradientInput {
  readonly qkv: Tensor;
  /** [slots, H, D, D] before the step. */
  readonly state: Tensor;
  readonly decay: Tensor;
  /** [T, H·D]. */
  readonly dOut: Tensor;
  /** Gradient of the state after the step; nothing: zero. */
  readonly dFinal?: Tensor | undefined;
  readonly step: Step;
}

/** @returns gradients of qkv, [T, H·3·D], and of the state before the step, [slots, H, D, D]. */
export function lightningGradient(input: LightningGradientInput): { readonly dQkv: Tensor; readonly dState: Tensor } {
  const { qkv, state, decay, dOut, dFinal, step } = input;
  const { device } = qkv;
  const [, heads = 0, headDim = 0] = state.shape;
  const dQkv = zeros(device, qkv.shape);
  const dState = zeros(device, state.shape);
  const none = dFinal ? undefined : zeros(device, state.shape);
  const after = dFinal ?? (none as Tensor); // one of the two is there
  for (const [at, sweep] of sweeps.entries()) {
    const initial = sweep.name === "dq" ? state : after;
    const cost = {
      bytes: 2 * qkv.byteLength + state.byteLength,
      operations: 4 * step.tokenCount * heads * headDim ** 2,
    };
    if (device.kind === "cpu") {
      const rowBytes = Math.ceil(headDim / 4) * 16;
      const bytes = Math.ceil((rowBytes * headDim) / 64) * 64;
      device.run("lightningSweep", {
        arguments: [
          ...[qkv, dOut, initial, decay, step.rows, dQkv, dState, device.workerScratch(bytes), bytes],
          ...[heads, headDim, at],
        ],
        tasks: step.rowCount * heads,
        chunk: 1,
        cost,
      });
    } else {
      device.run(sweepKernel(sweep, headDim), {
        buffers: [qkv, dOut, initial, decay, step.rows, dQkv, dState],
        params: sweepParams.write({ heads }),
        grid: [step.rowCount, heads],
        cost,
      });
    }
  }
  none?.dispose();
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

export function copyOf(device: Device, tensor: Tensor): Tensor {
  const copy = empty(device, tensor.shape, tensor.dtype);
  device.copy(tensor, copy);
  return copy;
}
