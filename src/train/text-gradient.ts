/**
 * The mean next-token cross-entropy of texts under a model, and its gradients.
 *
 * Texts lie side by side on one axis of tokens, each a row of its own: attention and lightning states never cross from one
 * to the next, whatever their lengths. Every token but a text's last foretells the next one, unless targets say otherwise.
 */
import { type ExpertsPass, type LanguageModel, tensorsOf } from "../models/index.js";
import { buildStep } from "../nn/index.js";
import { add, balanceLoss, checkpoint, crossEntropy, matmul, pullback } from "../ops/index.js";
import { type Tensor, upload } from "../tensor/index.js";
import { StepStates } from "./step-states.js";

export interface TextGradient {
  /** f32 [1], nats a token. */
  readonly loss: Tensor;
  /** In the order of `trained`; undefined where the loss does not depend on a tensor. */
  readonly gradients: readonly (Tensor | undefined)[];
}

export interface LossOptions {
  /** For each token of all texts in order the id to foretell, or −1. Default: the next one of the same text. */
  readonly targets?: readonly number[];
  /** Divides the sum of all tokens' losses; see `crossEntropy`. */
  readonly count?: number;
  /** Of the head's products; see `crossEntropy`. The other products follow the precision that the model was loaded with. */
  readonly precision?: "f32" | "f16";
  /** Coefficient of the routers' load-balancing loss, which is added; see `balanceLoss`. Not with `recompute`. Default 0. */
  readonly balance?: number;
  /** Shown the hidden states as `model.forward` shows them. */
  readonly onHidden?: (name: string, hidden: Tensor) => void;
}

export interface TextGradientOptions extends LossOptions {
  /** f32 [1]: multiplies the gradients, not the loss (loss scaling). Default 1. */
  readonly scale?: Tensor;
  /** Keeps the inputs of the layers only and runs each layer again when the gradient passes. */
  readonly recompute?: boolean;
}

/**
 * @param trained tensors of the model, float32 (`trainableTensors`).
 * @param texts ids; at least two a text where no targets are given.
 * @throws {NoGradientError} The model has weights of another type on the way.
 * @throws {RangeError} A text is too short, or `balance` meets `recompute`.
 */
export function textGradient(
  model: LanguageModel,
  trained: readonly Tensor[],
  texts: readonly (readonly number[])[],
  options: TextGradientOptions = {},
): TextGradient {
  const { scale, recompute = false } = options;
  const { loss, dispose } = lossOf(model, texts, options, recompute);
  try {
    const parameters = Object.fromEntries(trained.map((tensor, i) => [String(i), tensor]));
    const { value, gradients } = pullback(loss)(parameters, ({ device, shape }) => {
      if (!scale) return upload(device, [1], shape);
      return scale.reshape(shape);
    });
    return { loss: value, gradients: trained.map((_, i) => gradients[String(i)]) };
  } finally {
    dispose();
  }
}

/** The loss alone, f32 [1]: for validation. */
export function textLoss(
  model: LanguageModel,
  texts: readonly (readonly number[])[],
  options: LossOptions = {},
): Tensor {
  const { loss, dispose } = lossOf(model, texts, options, false);
  try {
    return loss();
  } finally {
    dispose();
  }
}

function lossOf(
  model: LanguageModel,
  texts: readonly (readonly number[])[],
  { targets, count, precision, balance = 0, onHidden }: LossOptions,
  recompute: boolean,
): { readonly loss: () => Tensor; readonly dispose: () => void } {
  const { head, device } = model;
  if (!head) throw new TypeError(`${model.family}: this model does not show its head, which training needs`);
  if (balance !== 0 && recompute) throw new RangeError("textGradient: balance cannot be had together with recompute");
  const least = targets ? 1 : 2;
  const short = texts.findIndex((ids) => ids.length < least);
  if (short >= 0)
    throw new RangeError(
      `textGradient: text ${short} has ${texts[short]?.length} ids; ${least === 1 ? "one is" : "two are"} needed`,
    );
  const step = buildStep(
    device,
    texts.map((ids, slot) => ({ slot, past: 0, ids })),
  );
  const states = new StepStates(device, model.state, texts.length);
  const aims = targets ?? texts.flatMap((ids) => [...ids.slice(1), -1]);
  const again = (x: Tensor, run: (x: Tensor) => Tensor, weights: unknown): Tensor =>
    checkpoint(([x]) => run(x as Tensor), [x, ...tensorsOf(weights)]);
  const loss = () => {
    const routers = balance === 0 ? undefined : new RouterLogits();
    using x = model.forward(step, states, {
      logits: "none",
      ...(onHidden ? { onHidden } : {}),
      ...(recompute ? { aroundLayer: again } : {}),
      ...(routers ? { onExperts: routers.take } : {}),
    });
    const entropy = crossEntropy(x, head, aims, {
      ...(count === undefined ? {} : { count }),
      ...(precision === undefined ? {} : { precision }),
    });
    return routers ? routers.addTo(entropy, balance) : entropy;
  };
  const dispose = () => {
    states.dispose();
    step.dispose();
  };
  return { loss, dispose };
}

/** What the routers of a pass say, for the loss that keeps experts in use. */
class RouterLogits {
  private readonly layers: Tensor[] = [];
  private topK = 0;

  readonly take = (_layer: number, { input, weights, topK }: ExpertsPass): void => {
    this.topK = topK;
    // The layer's scope ends before the loss is made.
    this.layers.push(matmul(input, weights.router).handOver());
  };

  addTo(loss: Tensor, coefficient: number): Tensor {
    const { layers, topK } = this;
    if (layers.length === 0) return loss;
    using balance = balanceLoss(layers, { topK, coefficient });
    const sum = add(loss, balance);
    for (const tensor of [loss, ...layers]) tensor.dispose();
    return sum;
  }
}
