/**
 * What is trained: all of a model, some of it, or adapters beside it. Gradients are taken of tensors that the model works
 * with; the optimiser changes `tensors`; what stands between the two is here.
 */
import type { LanguageModel } from "../models/index.js";
import { type Tensor, zeros } from "../tensor/index.js";
import { type TrainedTensor, trainedTensors } from "./optimisers/trained-tensors.js";

export interface Trainee extends Disposable {
  /** What the optimiser changes. */
  readonly tensors: readonly TrainedTensor[];
  /** What gradients are taken of. */
  readonly sources: readonly Tensor[];
  /** Gradients of `tensors` from those of `sources`, which it takes over; undefined where the loss depends on none. */
  pull(gradients: readonly (Tensor | undefined)[]): Tensor[];
  /** After a step: brings what has changed into the model. */
  push(): void;
}

/** The model's own tensors. @param isTrained by names of the checkpoint; default all. */
export function wholeModel(model: LanguageModel, isTrained?: (name: string) => boolean): Trainee {
  const tensors = trainedTensors(model.tensors ?? [], isTrained);
  if (tensors.length === 0) throw new RangeError("trainer: there is nothing to train");
  return {
    tensors,
    sources: tensors.map(({ tensor }) => tensor),
    pull: (gradients) =>
      tensors.map(({ tensor }, i) => gradients[i] ?? zeros(tensor.device, tensor.shape, "f32", "no gradient")),
    push() {},
    [Symbol.dispose]() {},
  };
}
