/** The benchmark suites by name. A new suite is one file and one line here. */
import type { Model } from "../../generate/index.js";
import type { ModelOptions } from "../model-options.js";
import type { SuiteOutput } from "./bench-result.js";
import { decodeSuite } from "./decode.js";
import { prefillSuite } from "./prefill.js";

export interface BenchFlags extends ModelOptions {
  readonly batch: readonly number[];
  readonly context: number;
  readonly lengths: readonly number[];
  readonly runs: number;
  readonly profile?: true;
  readonly json?: true;
}

export interface SuiteInput {
  readonly model: Model;
  readonly flags: BenchFlags;
  readonly signal: AbortSignal;
  /** What is being done now. */
  readonly say: (text: string) => void;
}

export const suites = { decode: decodeSuite, prefill: prefillSuite } as const satisfies Record<
  string,
  (input: SuiteInput) => Promise<SuiteOutput>
>;

export type SuiteName = keyof typeof suites;

export const suiteNames = Object.keys(suites) as SuiteName[]; // the keys of the object above
