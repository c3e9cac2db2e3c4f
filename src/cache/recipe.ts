/** What a packed kind decides for one layer; `PackedCache` does the rest. */
import type { MarkRule, PackedFormat } from "../ops/index.js";
import type { KvCalibration } from "./calibration.js";
import type { PackedOptions } from "./packed-options.js";

export interface PackedRecipe {
  readonly format: PackedFormat;
  /** Which tokens are marked; with `format.marked` > 0. */
  readonly marks?: MarkRule;
  /** [G·D], where `format.ordered`. */
  readonly order?: Int32Array;
  /** Where `format.meanPairs` > 0: mean keys [G, D] with all but the kept pairs zero, and the pairs [G, meanPairs]. */
  readonly mean?: { readonly values: Float32Array; readonly pairs: Int32Array };
  /** [G·D], where `format.valueMean`. */
  readonly valueMean?: Float32Array;
}

export interface RecipeInput {
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rotaryDim: number;
  /** Index among the softmax layers, and their number. */
  readonly layer: number;
  readonly layers: number;
  readonly calibration: KvCalibration | undefined;
  readonly options: PackedOptions;
}

/** A packed kind: one file in `kinds/`. */
export interface PackedKind {
  /** What it does, in one line. */
  readonly about: string;
  readonly options: readonly (keyof PackedOptions)[];
  /** A calibration file makes it better. */
  readonly calibrated?: true;
  recipe(input: RecipeInput): PackedRecipe;
}
