/** What a model family gives, and what a loaded model can do. */
import type { SequencePool, StateSpec } from "../cache/index.js";
import type { Device } from "../device/index.js";
import type { Step, WeightMatrix } from "../ops/index.js";
import type { Tensor } from "../tensor/index.js";
import type { NamedRows } from "./named-rows.js";
import type { Loaded } from "./weights.js";

/** One layer's mixture of experts at work. */
export interface ExpertsPass {
  /** [T, C]: what router and experts get. */
  readonly input: Tensor;
  /** As `moe` takes them. */
  readonly weights: { readonly router: WeightMatrix; readonly gateUp: WeightMatrix; readonly down: WeightMatrix };
  readonly experts: number;
  readonly topK: number;
  readonly normalise: boolean;
}

export interface ForwardOptions {
  /**
   * `last`: logits of each row's last token, [R, V]; `all`: of every token, [T, V]. Default `last`. `none`: the final norm's
   * output [T, C] instead, for a loss that has the head inside.
   */
  readonly logits?: "last" | "all" | "none";
  /**
   * Shown the hidden states [T, C] as they pass: "hidden.0" (embedding output), "hidden.i" (output of layer i, from 1),
   * "hidden.norm" (after the final norm). They are freed afterwards: keep a `reshape` of what is to be read.
   */
  readonly onHidden?: (name: string, hidden: Tensor) => void;
  /** Shown what each layer's experts work on (layers from 0), as quantisation with calibration needs it; the same rule. */
  readonly onExperts?: (layer: number, pass: ExpertsPass) => void;
  /**
   * Calls a layer's pass in the model's place, for training that makes a layer's inside again instead of keeping it. `run` may
   * be called again later with the same input, `weights` is the layer's tree. Not together with `onExperts`.
   */
  readonly aroundLayer?: (x: Tensor, run: (x: Tensor) => Tensor, weights: unknown) => Tensor;
}

/** What a pass works on: a pool's caches and states, or a training step's. */
export type LayerStates = Pick<SequencePool, "caches" | "states">;

/** A model on a device. It holds weights only; sequences live in a pool made from `state`. */
export interface LanguageModel extends Disposable {
  readonly family: string;
  readonly device: Device;
  readonly vocabSize: number;
  readonly layers: number;
  readonly state: StateSpec;
  /** Bytes of weights on the device. */
  readonly weightBytes: number;
  /** All parameters, and those that take part in each token. */
  readonly parameters: { readonly total: number; readonly active: number };
  /**
   * Records one pass over the step's tokens: appends to the caches, updates the states, returns logits (float32).
   * The caller disposes of the result.
   */
  forward(step: Step, pool: LayerStates, options?: ForwardOptions): Tensor;
  /** The LM head, [V, C]: the embedding where the two are tied. Training needs it. */
  readonly head?: WeightMatrix;
  /** Where the checkpoint's tensors lie; undefined for models that were not loaded from one. */
  readonly tensors?: readonly NamedRows[];
  dispose(): void;
}

/** One family: its config, its weights, its forward pass. */
export interface ModelFamily<Config, Weights extends object> {
  readonly name: string;
  /** `model_type` values of config.json. */
  readonly modelTypes: readonly string[];
  /** @throws {ConfigError} */
  parseConfig(json: unknown, source: string): Config;
  /** The table of weight names. `shapeOf` tells a tensor's shape where the config leaves it open. */
  weights(config: Config, shapeOf: (name: string) => readonly number[] | undefined): Weights;
  /** Tensors that checkpoints of this family may hold and nobody needs. */
  readonly ignoredTensors?: readonly RegExp[];
  build(device: Device, config: Config, weights: Loaded<Weights>): LanguageModel;
}
