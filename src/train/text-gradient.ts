/**
 * The mean next-token cross-entropy of texts under a model, and its gradients.
 *
 * Texts lie side by side on one axis of tokens, each a row of its own: attention and lightning states never cross from one
 * to the next, whatever their lengths. Every token but a text's last foretells the next one.
 */
import type { LanguageModel } from "../models/index.js";
import { buildStep } from "../nn/index.js";
import { crossEntropy, valueAndGradient } from "../ops/index.js";
import type { Tensor } from "../tensor/index.js";
import { StepStates } from "./step-states.js";

export interface TextGradient {
  /** f32 [1], nats a token. */
  readonly loss: Tensor;
  /** In the order of `trained`; undefined where the loss does not depend on a tensor. */
  readonly gradients: readonly (Tensor | undefined)[];
}

export interface TextGradientOptions {
  /** Divides the sum of all tokens' losses; see `crossEntropy`. */
  readonly count?: number;
  /** Of the head's products; see `crossEntropy`. The other products follow the precision that the model was loaded with. */
  readonly precision?: "f32" | "f16";
}

/**
 * @param trained tensors of the model, float32 (`trainableTensors`).
 * @param texts ids, at least two a text.
 * @throws {NoGradientError} The model has weights of another type on the way.
 * @throws {RangeError} A text is too short.
 */
export function textGradient(
  model: LanguageModel,
  trained: readonly Tensor[],
  texts: readonly (readonly number[])[],
  options: TextGradientOptions = {},
): TextGradient {
  const { head, device } = model;
  if (!head) throw new TypeError(`${model.family}: this model does not show its head, which training needs`);
  const short = texts.findIndex((ids) => ids.length < 2);
  if (short >= 0) throw new RangeError(`textGradient: text ${short} has ${texts[short]?.length} ids; two are needed`);
  using step = buildStep(
    device,
    texts.map((ids, slot) => ({ slot, past: 0, ids })),
  );
  using states = new StepStates(device, model.state, texts.length);
  const targets = texts.flatMap((ids) => [...ids.slice(1), -1]);
  const parameters = Object.fromEntries(trained.map((tensor, i) => [String(i), tensor]));
  const { value, gradients } = valueAndGradient(() => {
    using x = model.forward(step, states, { logits: "none" });
    return crossEntropy(x, head, targets, options);
  })(parameters);
  return { loss: value, gradients: trained.map((_, i) => gradients[String(i)]) };
}
