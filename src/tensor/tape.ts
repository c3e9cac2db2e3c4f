/**
 * The gradient tape's hook. Every operation ends with `record`; while no tape is active this costs one comparison.
 *
 * The tape itself is `valueAndGradient` (src/ops/gradient): reverse mode, recomputation, accumulation.
 */
import type { Tensor } from "./tensor.js";

/**
 * Gradients of the inputs, given those of the outputs (undefined: nothing depends on that output).
 *
 * What is returned belongs to the tape: new tensors, or new handles (`retain`) on the given ones. `needs[i]`: whether input i's
 * gradient is wanted; return undefined where it is not.
 */
export type Backward = (
  dOutputs: readonly (Tensor | undefined)[],
  needs: readonly boolean[],
) => readonly (Tensor | undefined)[];

/** Keeps tensors for `backward`; the tape frees the handles afterwards. */
export type Keep = <T extends readonly (Tensor | undefined)[]>(...tensors: T) => T;

export interface Recorded {
  readonly operation: string;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  /** Makes the closure; only called when a gradient passes through the operation. */
  readonly backward: ((keep: Keep) => Backward) | undefined;
}

export interface Tape {
  /** Called for each operation in the order of execution. */
  onOperation(recorded: Recorded): void;
}

/** An operation on the way to a trained parameter has no gradient. */
export class NoGradientError extends Error {
  override readonly name = "NoGradientError";
  constructor(readonly operation: string) {
    super(`${operation} has no gradient, but its input depends on a trained parameter`);
  }
}

let active: Tape | undefined;

export function activeTape(): Tape | undefined {
  return active;
}

/** Runs `f` with `tape` recording, or with none. Tapes do not nest: the inner one records alone. */
export function withTape<T>(tape: Tape | undefined, f: () => T): T {
  const outer = active;
  active = tape;
  try {
    return f();
  } finally {
    active = outer;
  }
}

/**
 * To be called at the end of each operation, before its tensors are disposed of.
 *
 * @param backward receives `keep`: every tensor that the closure reads later must pass through it.
 */
export function record(
  operation: string,
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
  backward?: (keep: Keep) => Backward,
): void {
  active?.onOperation({ operation, inputs, outputs, backward });
}
